"""How does it learn? One loop for both regimes and all methods; `koa_kit.training.fitting` puts a folder around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from koa_kit.cohort import Cohort
from koa_kit.engine.averaging import mix_in
from koa_kit.engine.hooks import Average, FiniteLosses, Hook, KeepState, Progress
from koa_kit.engine.processes import Processes
from koa_kit.engine.resume import Origin, PartialWeights, RandomState
from koa_kit.error_analysis.metrics import count_grades, metrics_of_counts
from koa_kit.grades import RULES, grade_by_rule
from koa_kit.model.checkpoint import save_checkpoint
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.model.grader import check_finite
from koa_kit.paths import replacing
from koa_kit.training.batches import EpochSampler
from koa_kit.training.config import TrainConfig
from koa_kit.training.step import PARTS, TrainingStep
from koa_kit.training.views import FeatureViews, views_of


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
        self.facts: dict = {"seed": config.seed, "method": config.method, "cohort": train.name}
        self.facts |= {"cohort_fingerprint": train.fingerprint}
        views, self.val_views = (views_of(model, part, progress=on_embedding) for part in (train, val))
        if isinstance(views, FeatureViews):
            model.centre_features(views.values[:, 0])
        self.val_kl = val.table["kl"].to_numpy()
        self.sampler = EpochSampler(len(train), config, torch.Generator().manual_seed(config.seed))
        self.start = _start(model) if config.wise_ft < 1 else {}
        kl = torch.from_numpy(train.table["kl"].to_numpy(dtype=np.int64, copy=True))
        steps = self.sampler.batches * config.epochs
        self.step = step = TrainingStep(model, views, kl, config, steps=steps, processes=processes)
        self.average = Average(model, config.ema) if config.ema else None
        locked = tuple(f"{name}_tower." for name in model.locked)
        self.progress = Progress(device=str(processes.device))
        origin = asdict(config) | {"cohort_fingerprint": train.fingerprint, "processes": processes.count}
        parts = {"origin": Origin(folder, origin | {"device": processes.device.type}), "progress": self.progress}
        parts |= {"sampler": self.sampler, "random": RandomState(processes)}
        parts |= {"model": PartialWeights(model, locked), "optimiser": step.optimiser, "schedule": step.schedule}
        if self.average:
            parts |= {"average": PartialWeights(self.average.average, tuple(f"module.{name}" for name in locked))}
        finite = FiniteLosses(folder, processes.device)
        self.state = KeepState(folder, parts, save_seconds, processes, finite)
        self.hooks: list[Hook] = [hook for hook in (self.average, finite, self.state) if hook]

    def run(self, on_epoch: Callable[[dict], None] | None = None) -> pd.DataFrame:
        """History of all epochs, after training those that are left."""
        progress, patience = self.progress, self.config.patience
        while progress.epoch <= self.config.epochs and not (patience and progress.since >= patience):
            started, before = time.perf_counter(), progress.seconds
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
            speed, scored = self._speed(), self._scored_model()
            row |= self._scores(scored)
            self._keep_if_best(scored, row)
            progress.history.append(row | {"seconds": before + time.perf_counter() - started} | speed)
            if self.processes.main:
                with replacing(self.folder / "history.csv") as path:
                    pd.DataFrame(progress.history).to_csv(path, index=False)
            progress.next_epoch()
            self.sampler.remember()
            for hook in self.hooks:
                hook.epoch_ends(progress)
            if on_epoch and self.processes.main:
                on_epoch(progress.history[-1])
        return pd.DataFrame(progress.history)

    def _speed(self) -> dict[str, float]:
        # of cached features no image goes through a tower
        cached = {"images_per_second": np.nan} if self.config.regime == "probe" else {}
        return self.step.clock.summary() | cached

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
        check_finite(logits.numpy(), "the val knees")
        p = logits if self.config.rule == RULES[0] else logits.softmax(-1)
        counts = count_grades(self.val_kl, grade_by_rule(p.numpy(), self.config.rule))
        scores = metrics_of_counts(counts[None], ("accuracy", "qwk", "kl1_recall"))
        return {f"val_{name}": float(value[0]) for name, value in scores.items()}

    def _keep_if_best(self, model: ClipKoa, row: dict) -> None:
        # QWK is undefined where readers and model use one grade only; such an epoch is kept if there is none better
        quality = float(np.nan_to_num(row["val_qwk"], nan=-1.0))
        if quality <= self.progress.best:
            self.progress.since += 1
            return
        self.progress.best, self.progress.since = quality, 0
        if self.processes.main:
            save_checkpoint(model, self.folder, **self.facts, epoch=row["epoch"])


def _start(model: ClipKoa) -> dict[str, Tensor]:
    """Weights that the trained towers begin with, and the projections where they begin as the identity.

    Random projections are nothing to go back to; the temperature never is.
    """
    prefixes = tuple(f"{name}_tower." for name in {"image", "text"} - model.locked)
    if prefixes and model.towers.aligned:
        prefixes += ("image_projection.", "text_projection.")
    state = model.state_dict().items()
    return {n: value.clone() for n, value in state if n.startswith(prefixes) and value.is_floating_point()}
