"""How does it learn? One loop for both regimes and all methods; `fit` puts a run folder around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import cohen_kappa_score, recall_score
from torch import Tensor

from koa_kit.cohort import Cohort
from koa_kit.data.splits import set_aside
from koa_kit.engine.averaging import mix_in
from koa_kit.engine.hooks import Average, FiniteLosses, Hook, KeepState, Progress, naming_a_smaller_batch
from koa_kit.engine.processes import Processes, find_processes
from koa_kit.engine.resume import alone_in, load_state, random_states, save_state, set_random_state
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.losses import check_finite
from koa_kit.model.checkpoint import read_record, save_checkpoint
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.training import run as folders
from koa_kit.training.batches import EpochSampler
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.run import Run, load_run
from koa_kit.training.step import PARTS, TrainingStep
from koa_kit.training.views import views_of
from koa_kit.versions import versions


def fit(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    resume: bool = False,
    save_minutes: float = 5.0,
    on_epoch: Callable[[dict], None] | None = None,
    on_embedding: Callable[[int, int], None] | None = None,
) -> Run:
    """Train on the cohort's train split, keep the epoch with the best QWK on its val split, and write a run folder.

    With ``config.holdout`` a share of the train patients is left out, and scored once at the end.

    Started by ``accelerate launch`` as several processes, they share the batches of one run.

    Parameters
    ----------
    cohort
        With splits "train" and "val".
    config
        Choices of the run.
    folder
        Run folder; without `resume`, results of an earlier run in it are removed first.
    device
        Such as "cpu" or "cuda"; omitted, a GPU if there is one.
    resume
        Go on where a killed run left its state: on a CPU the result is that of the uninterrupted run, bit for bit. A
        run that is finished is read, one that never began is begun.
    save_minutes
        The state is kept after every epoch, and so often within one.
    on_epoch
        Called after each epoch with its row of the history.
    on_embedding
        Called with (done, total) while features are computed.

    Raises
    ------
    KoaError
        If a split is missing or a name unknown: an earlier run in the folder is left as it was. If the loss or a
        logit stops being finite: the folder then holds no predictions and no metrics, and `load_run` refuses it. If
        memory or disk do not suffice, another process trains into the folder, or a run to resume was begun with
        other choices or knees.
    """
    folder, processes = Path(folder), find_processes(device)
    with alone_in(folder, processes, wait=False):
        return _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding)


def fit_or_load(
    cohort: Cohort, config: TrainConfig, folder: str | Path, *, device: str | None = None, **options
) -> Run:
    """Run of these choices on this cohort: read from `folder` if it holds exactly that, else trained by `fit`.

    What a notebook calls, so that a cell may be run twice and a later notebook finds what an earlier one trained.
    Where the same run was interrupted, it goes on; where another process is training it, it is waited for. `options`
    are those of `fit`.
    """
    folder, processes = Path(folder), find_processes(device)
    with alone_in(folder, processes, wait=True):
        resume = folders.holds(folder, config, set_aside(cohort, config.holdout), processes)
        if resume and (folder / "metrics.json").is_file() and read_record(folder)["versions"] != versions():
            resume = False
        given = {"save_minutes": 5.0, "on_epoch": None, "on_embedding": None} | options
        return _fit(cohort, config, folder, processes, resume, **given)


def _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding) -> Run:
    cohort = set_aside(cohort, config.holdout)
    train, val = cohort.split("train"), cohort.split("val")
    if config.batch_size % processes.count:
        raise KoaError(
            f"{processes.count} processes cannot share batches of {config.batch_size} knees equally.",
            remedy=f"Choose a multiple: --set batch_size={-(-config.batch_size // processes.count) * processes.count}.",
        )
    device = str(processes.device)
    resume = resume and (folder / "config.yaml").is_file()
    if resume:
        folders.check_same_run(folder, config, cohort, processes)
        if (folder / "metrics.json").is_file():
            return load_run(folder, device=device)
    processes.wait()
    on_gpu = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu), naming_a_smaller_batch(config.batch_size, config.image_size):
        torch.manual_seed(config.seed)
        model = untrained(config, device=device)
        # only now: a misspelt tower or prompt set must not cost the run that was here
        if processes.main:
            folders.prepare_folder(folder, config, cohort, processes, resume)
        training = Training(model, train, val, config, folder, processes, save_minutes * 60, on_embedding)
        if resume and (state := load_state(folder)):
            training.restore(state)
        history = training.run(on_epoch)
        del training, model
    if processes.main:
        folders.finish_folder(folder, config, cohort, history, device)
    processes.wait()
    return load_run(folder, device=device)


class Training:
    """Epochs of one run: the best of them on val is kept in the run folder, and the state of all with it.

    `train` are the knees to learn from, `val` those to score each epoch on; within an epoch the state is kept every
    `save_seconds`.
    """

    def __init__(
        self,
        model: ClipKoa,
        train: Cohort,
        val: Cohort,
        config: TrainConfig,
        folder: Path,
        processes: Processes,
        save_seconds: float,
        on_embedding: Callable[[int, int], None] | None = None,
    ):
        self.model, self.config, self.folder, self.processes = model, config, folder, processes
        self.facts = {"seed": config.seed, "method": config.method, "cohort": train.name}
        self.facts |= {"cohort_fingerprint": train.fingerprint}
        views, self.val_views = (views_of(model, part, progress=on_embedding) for part in (train, val))
        if config.regime == "probe":
            model.centre_features(views.values[:, 0])
        self.val_kl = val.table["kl"].to_numpy()
        self.sampler = EpochSampler(len(train), config, torch.Generator().manual_seed(config.seed))
        self.start = _start(model) if config.wise_ft < 1 else {}
        kl = torch.from_numpy(train.table["kl"].to_numpy(dtype=np.int64, copy=True))
        steps = self.sampler.batches * config.epochs
        self.step = TrainingStep(model, views, kl, config, steps=steps, processes=processes)
        self.average = Average(model, config.ema) if config.ema else None
        self.finite = FiniteLosses(folder, processes.device)
        hooks = [self.average, self.finite, self.step.speed, KeepState(self._save, save_seconds, processes)]
        self.hooks: list[Hook] = [hook for hook in hooks if hook]
        self.progress, self.drawn_from = Progress(), None

    def run(self, on_epoch: Callable[[dict], None] | None = None) -> pd.DataFrame:
        """History of all epochs, after training those that are left."""
        progress, patience = self.progress, self.config.patience
        while progress.epoch <= self.config.epochs and not (patience and progress.since >= patience):
            started, before = time.perf_counter(), progress.seconds
            self._remember_draw()
            batches = [batch.to(self.step.views.device) for batch in self.sampler.epoch()]
            self.model.train()
            for hook in self.hooks:
                hook.epoch_begins(progress)
            for batch in batches[progress.done :]:
                progress.losses.append(self.step(batch))
                progress.done += 1
                for hook in self.hooks:
                    hook.step_ends(progress, len(batches))
            row = {"epoch": progress.epoch, **self._mean_losses(), "learning_rate": self.step.rate}
            speed, scored = self.step.speed.row(), self._scored_model()
            row |= self._scores(scored)
            self._keep_if_best(scored, row)
            progress.history.append(row | {"seconds": before + time.perf_counter() - started} | speed)
            if self.processes.main:
                folders.write_history(self.folder, progress.history)
            progress.next_epoch()
            self._remember_draw()
            for hook in self.hooks:
                hook.epoch_ends(progress)
            if on_epoch and self.processes.main:
                on_epoch(progress.history[-1])
        return pd.DataFrame(progress.history)

    def _remember_draw(self) -> None:
        """Before an epoch is drawn: from here a resumed run draws it again."""
        self.drawn_from = {"generator": self.sampler.generator.get_state(), "pending": self.sampler.pending}

    def _mean_losses(self) -> dict[str, float]:
        means = torch.stack(self.processes.all(torch.stack(self.progress.losses).mean(0))).mean(0)
        return dict(zip(PARTS, means.tolist(), strict=True))

    def _scored_model(self) -> ClipKoa:
        """The weights that are scored and kept: as trained, averaged over steps, mixed with those of the start."""
        scored = self.average.model if self.average else self.model
        if self.start:
            scored = deepcopy(scored)
            mix_in(scored, self.start, self.config.wise_ft)
        return scored.eval()

    def _scores(self, model: ClipKoa) -> dict[str, float]:
        # a second view of every val knee is free when cached, and costs a forward pass when not
        both = self.config.val_views == "both"
        flip = both or model.spec.flip_pooling or self.config.regime == "probe"
        mine = torch.arange(len(self.val_kl)).tensor_split(self.processes.count)[self.processes.rank]
        answers = []
        with torch.inference_mode():
            for rows in mine.split(self.config.batch_size):
                pair = model.logits(*self.val_views.encode(model, self.val_views.inputs(rows), flip=flip))
                answers.append(torch.stack(pair).mean(0) if both else pair[0])
        logits = torch.cat(self.processes.all(torch.cat(answers).float()))
        check_finite(logits, "the val knees")
        kl, pred = self.val_kl, logits.argmax(1).numpy()
        return {
            "val_accuracy": float((pred == kl).mean()),
            "val_qwk": float(cohen_kappa_score(kl, pred, labels=list(GRADES), weights="quadratic")),
            "val_kl1_recall": float(recall_score(kl, pred, labels=[1], average="macro", zero_division=0)),
        }

    def _keep_if_best(self, model: ClipKoa, row: dict) -> None:
        # QWK is undefined where readers and model use one grade only; such an epoch is kept if there is none better
        quality = float(np.nan_to_num(row["val_qwk"], nan=-1.0))
        if quality <= self.progress.best:
            self.progress.since += 1
            return
        self.progress.best, self.progress.since = quality, 0
        if self.processes.main:
            save_checkpoint(model, self.folder, **self.facts, epoch=row["epoch"])

    def _save(self, progress: Progress) -> None:
        """Keep the state of this moment; all processes call it, the main one writes."""
        self.finite.look(progress)
        state = {"random": random_states(self.processes), "progress": progress.state_dict(), **self.drawn_from}
        state |= {"optimiser": self.step.optimiser.state_dict(), "schedule": self.step.schedule.state_dict()}
        state |= {"model": _changing(self.model)}
        if self.average:
            state |= {"average": _changing(self.average.model), "updates": self.average.average.n_averaged}
        if self.processes.main:
            save_state(self.folder, state)

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """Take up the run where `_save` put it down."""
        self.progress.load_state_dict(state["progress"], self.processes.device)
        self.sampler.generator.set_state(state["generator"])
        self.sampler.pending = state["pending"]
        self.step.optimiser.load_state_dict(state["optimiser"])
        self.step.schedule.load_state_dict(state["schedule"])
        kept = [(self.model, state["model"])]
        if self.average:
            self.average.average.n_averaged.copy_(state["updates"])
            kept.append((self.average.model, state["average"]))
        for model, weights in kept:
            own = _changing(model)
            for name, value in weights.items():
                own[name].copy_(value)
        set_random_state(state["random"], self.processes)


def _changing(model: ClipKoa) -> dict[str, Tensor]:
    """The model's own tensors that a run may change: all but those of locked towers."""
    locked = tuple(f"{name}_tower." for name in model.locked)
    return {name: value for name, value in model.state_dict().items() if not name.startswith(locked)}


def _start(model: ClipKoa) -> dict[str, Tensor]:
    """Weights that the trained towers begin with, and the projections where they begin as the identity.

    Random projections are nothing to go back to; the temperature never is.
    """
    prefixes = tuple(f"{name}_tower." for name in {"image", "text"} - model.locked)
    if prefixes and model.towers.aligned:
        prefixes += ("image_projection.", "text_projection.")
    state = model.state_dict().items()
    return {n: value.clone() for n, value in state if n.startswith(prefixes) and value.is_floating_point()}
