"""How does it learn? One `fit` for both regimes and all methods; the run folder it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import cohen_kappa_score, recall_score
from torch import Tensor

from koa_kit.data.cohort import Cohort
from koa_kit.errors import KoaError
from koa_kit.losses import check_finite, clip_koa_loss
from koa_kit.model import ClipKoa, load_checkpoint, make_model, read_record, save_checkpoint
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig
from koa_kit.training.embedding_cache import Progress
from koa_kit.training.prediction import grade_images, predict
from koa_kit.training.views import FeatureViews, ImageViews
from koa_kit.versions import versions

GRADES = list(range(5))
RESULTS = (
    "history.csv",
    "model.safetensors",
    "model.json",
    "predictions.parquet",
    "embeddings.npy",
    "metrics.json",
)


@dataclass
class Run:
    """A finished training run and what it left in its folder.

    Attributes
    ----------
    folder
        Run folder: config.yaml, history.csv, model.safetensors, model.json, predictions.parquet, embeddings.npy,
        metrics.json.
    config
        Its choices.
    model
        The model of the best epoch, in evaluation mode.
    history
        One row an epoch: losses, learning rate, val scores, seconds.
    predictions
        Predictions of the val knees.
    """

    folder: Path
    config: TrainConfig
    model: ClipKoa
    history: pd.DataFrame
    predictions: pd.DataFrame

    def predict(self, cohort: Cohort, *, progress: Progress | None = None) -> tuple[pd.DataFrame, np.ndarray]:
        """Predictions and embeddings for other knees, side handled as in training; see `predict`."""
        canonical = self.config.method == "canonical_side"
        return predict(self.model, cohort, canonical_side=canonical, progress=progress)

    def grade(self, images: np.ndarray, sides: Sequence[str]) -> np.ndarray:
        """Probabilities ``(N, 5)`` for radiographs ``(N, H, H)``, side handled as in training; see `grade_images`."""
        return grade_images(self.model, images, sides, canonical_side=self.config.method == "canonical_side")


def choose_device(name: str | None = None) -> str:
    """Name of the device to compute on: `name` if given, else a GPU if there is one, else the CPU."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    on_embedding: Progress | None = None,
) -> Run:
    """Train on the cohort's train split, keep the epoch with the best QWK on its val split, and write a run folder.

    Parameters
    ----------
    cohort
        With splits "train" and "val".
    config
        Choices of the run.
    folder
        Run folder; results of an earlier run in it are removed first.
    device
        Such as "cpu" or "cuda"; omitted, a GPU if there is one.
    on_epoch
        Called after each epoch with its row of the history.
    on_embedding
        Called with (done, total) while features are computed.

    Raises
    ------
    KoaError
        If a split is missing or a name unknown: an earlier run in the folder is left as it was. If logits stop being
        finite: the folder then holds no predictions and no metrics, and `load_run` refuses it.
    """
    folder = Path(folder)
    train, val = cohort.split("train"), cohort.split("val")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = make_model(
            config.towers,
            config.prompts,
            image_size=config.image_size,
            locked=config.locked,
            flip_pooling=config.method == "flip_pooling",
            feature_dropout=config.feature_dropout,
            seed=config.seed,
            device=choose_device(device),
        )
        # only now: a misspelt tower or prompt set must not cost the run that was here
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        config.write(folder / "config.yaml")
        history = _train(model, train, val, config, folder, on_epoch, on_embedding, cohort.fingerprint)
    model = load_checkpoint(folder, device=choose_device(device))
    run = Run(folder, config, model, history, pd.DataFrame())
    run.predictions, embeddings = run.predict(val)
    write_predictions(folder, run.predictions, embeddings)
    return run


def _train(model, train, val, config, folder, on_epoch, on_embedding, fingerprint) -> pd.DataFrame:
    kind = FeatureViews if config.regime == "probe" else ImageViews
    canonical = config.method == "canonical_side"
    views, val_views = (kind(model, part, canonical_side=canonical, progress=on_embedding) for part in (train, val))
    if config.regime == "probe":
        model.centre_features(views.values[:, 0])
    kl = torch.tensor(train.table["kl"].to_numpy(), device=model.logit_scale.device)
    batches = max(len(train) // config.batch_size, 1)
    optimiser, schedule = _optimiser(model, config, batches * config.epochs)
    generator = torch.Generator().manual_seed(config.seed)
    history, best, since = [], -np.inf, 0
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        losses = _epoch(model, views, kl, config, optimiser, schedule, generator, batches)
        scores = _scores(model, val_views, val.table["kl"].to_numpy(), config)
        row = {"epoch": epoch, **losses, "learning_rate": schedule.get_last_lr()[-1], **scores}
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        with replacing(folder / "history.csv") as path:
            pd.DataFrame(history).to_csv(path, index=False)
        # QWK is undefined where readers and model use one grade only; such an epoch is kept if there is none better
        quality = np.nan_to_num(scores["val_qwk"], nan=-1.0)
        if quality > best:
            best, since = quality, 0
            facts = {"seed": config.seed, "method": config.method, "epoch": epoch, "cohort": train.name}
            save_checkpoint(model, folder, **facts, cohort_fingerprint=fingerprint)
        else:
            since += 1
        if on_epoch:
            on_epoch(row)
        if config.patience and since >= config.patience:
            break
    return pd.DataFrame(history)


def _optimiser(model: ClipKoa, config: TrainConfig, steps: int):
    groups = []
    for name in ("image", "text", "projections"):
        rate = config.learning_rate * (1.0 if name == "projections" else config.tower_rate)
        trained = [parameter for parameter in model.component(name) if parameter.requires_grad]
        # gains, biases and the temperature are not shrunk: decay there only fights the normalisation
        for decay, chosen in (
            (config.weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    optimiser = torch.optim.AdamW(groups)
    rates = [group["lr"] for group in groups]
    # torch divides by the length of the climb, so even the shortest run climbs for more than one step
    climb = min(max(config.warmup, 1.5 / steps), 0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=climb)
    return optimiser, schedule


def _epoch(model, views, kl: Tensor, config: TrainConfig, optimiser, schedule, generator, batches: int) -> dict:
    """One pass over the train knees; means of the loss parts. The losses stay on the device until the end."""
    model.train()
    weights = config.loss_weights
    flip = config.method == "flip_pooling" or weights["symmetry"] > 0 or weights["consistency"] > 0
    grade_weights = None if config.grade_weights is None else torch.tensor(config.grade_weights, device=kl.device)
    order = torch.randperm(len(kl), generator=generator)
    parts = []
    for rows in order.tensor_split(batches):
        mirrored = torch.rand(len(rows), generator=generator) < 0.5 if config.method == "random_flip" else None
        features = views.features(rows, mirrored=mirrored, flip=flip, strength=config.augment, generator=generator)
        logits, logits_flip = model.from_features(*features)
        loss = clip_koa_loss(
            logits,
            logits_flip,
            kl[rows.to(kl.device)],
            **weights,
            grade_weights=grade_weights,
            label_smoothing=config.label_smoothing,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        schedule.step()
        parts.append(torch.stack([part.detach() for part in loss]))
    means = torch.stack(parts).mean(0)
    check_finite(means[None], "the training loss")
    return dict(zip(("loss", "prompt_loss", "symmetry_loss", "consistency_loss"), means.tolist(), strict=True))


def _scores(model: ClipKoa, views, kl: np.ndarray, config: TrainConfig) -> dict[str, float]:
    model.eval()
    # a second view of every val knee is free when cached, and costs a forward pass when not
    flip = model.flip_pooling or config.regime == "probe"
    with torch.inference_mode():
        answers = [
            model.from_features(*views.features(rows, flip=flip))[0] for rows in torch.arange(len(kl)).split(256)
        ]
    logits = torch.cat(answers)
    check_finite(logits, "the val knees")
    pred = logits.argmax(1).cpu().numpy()
    return {
        "val_accuracy": float((pred == kl).mean()),
        "val_qwk": float(cohen_kappa_score(kl, pred, labels=GRADES, weights="quadratic")),
        "val_kl1_recall": float(recall_score(kl, pred, labels=[1], average="macro", zero_division=0)),
    }


def write_predictions(folder: Path, predictions: pd.DataFrame, embeddings: np.ndarray, stem: str = "") -> None:
    """Write predictions, embeddings and their metrics into a run folder; `stem` goes before the file names."""
    from koa_kit.error_analysis.metrics import metrics

    with replacing(folder / f"{stem}predictions.parquet") as path:
        predictions.to_parquet(path, index=False)
    with replacing(folder / f"{stem}embeddings.npy") as path:
        np.save(path, embeddings)
    with replacing(folder / f"{stem}metrics.json") as path:
        # a metric that these knees cannot tell (a grade is absent) is null: JSON has no nan
        told = {name: None if np.isnan(value) else value for name, value in metrics(predictions).items()}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def fit_or_load(cohort: Cohort, config: TrainConfig, folder: str | Path, **options) -> Run:
    """Run of these choices on this cohort: read from `folder` if it holds exactly that, else trained by `fit`.

    What a notebook calls, so that a cell may be run twice and a later notebook finds what an earlier one trained.
    """
    folder = Path(folder)
    if (folder / "metrics.json").is_file() and TrainConfig.read(folder / "config.yaml") == config:
        record = read_record(folder)
        if record["cohort_fingerprint"] == cohort.fingerprint and record["versions"] == versions():
            return load_run(folder, device=options.get("device"))
    return fit(cohort, config, folder, **options)


def load_run(folder: str | Path, *, device: str | None = None) -> Run:
    """Run kept in a folder by `fit`.

    Raises
    ------
    KoaError
        If the folder holds no finished run or its checkpoint does not fit its configuration.
    """
    folder = Path(folder)
    config = TrainConfig.read(folder / "config.yaml")
    read_record(folder)
    if not (folder / "predictions.parquet").is_file():
        raise KoaError("The run was not finished: it has no predictions.", where=folder, remedy="Train it again.")
    model = load_checkpoint(folder, towers=config.towers, prompts=config.prompts, device=choose_device(device))
    history = pd.read_csv(folder / "history.csv")
    return Run(folder, config, model, history, pd.read_parquet(folder / "predictions.parquet"))
