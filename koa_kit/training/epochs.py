"""A run under way: epoch after epoch, what it scores, and how it is put down and taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import cohen_kappa_score, recall_score
from torch import Tensor

from koa_kit.cohort import Cohort
from koa_kit.engine.processes import Processes
from koa_kit.engine.throughput import peak_flops
from koa_kit.errors import KoaError
from koa_kit.losses import check_finite
from koa_kit.model import ClipKoa, save_checkpoint
from koa_kit.paths import replacing
from koa_kit.training.averaging import interpolated, start_weights, swapped, trained_state
from koa_kit.training.batches import KneeOrder
from koa_kit.training.config import TrainConfig
from koa_kit.training.embedding_cache import Progress
from koa_kit.training.state import random_states, save_state, set_random_state
from koa_kit.training.step import PARTS, TrainingStep, flops_per_image
from koa_kit.training.views import FeatureViews, ImageViews

GRADES = list(range(5))
LOOK_EVERY = 50
"""Steps on a GPU between two looks at the losses, and among several processes between two looks at the clock."""


class Training:
    """Epochs of one run: the best of them on val is kept in the run folder, the state of all beside it.

    Parameters
    ----------
    model
        From `make_model`, on the device of `processes`.
    train, val
        Knees to learn from and to score each epoch on.
    config
        Choices of the run.
    folder
        Run folder.
    facts
        What the checkpoint is to remember.
    processes
        From `find_processes`.
    progress
        Called with (done, total) while features are computed.
    """

    def __init__(
        self,
        model: ClipKoa,
        train: Cohort,
        val: Cohort,
        config: TrainConfig,
        folder: Path,
        facts: dict,
        processes: Processes,
        progress: Progress | None = None,
    ):
        self.model, self.config, self.folder, self.facts, self.processes = model, config, folder, facts, processes
        kind = FeatureViews if config.regime == "probe" else ImageViews
        canonical = config.method == "canonical_side"
        views, self.val_views = (
            kind(model, part, canonical_side=canonical, progress=progress) for part in (train, val)
        )
        if config.regime == "probe":
            model.centre_features(views.values[:, 0])
        self.val_kl = val.table["kl"].to_numpy()
        self.order = KneeOrder(len(train), config, torch.Generator().manual_seed(config.seed))
        kl = torch.from_numpy(train.table["kl"].to_numpy(dtype=np.int64, copy=True))
        steps = self.order.batches * config.epochs
        # before the step compiles the tower: the counter does not see into compiled kernels
        self.flops = flops_per_image(model) if config.regime == "finetune" else None
        self.step = TrainingStep(model, views, kl, config, steps=steps, processes=processes)
        self.start = start_weights(config) if config.wise_ft < 1 else {}
        self.epoch, self.done, self.losses, self.seconds = 1, 0, [], 0.0
        self.history, self.best, self.since = [], -np.inf, 0
        self.drawn_from = None

    @property
    def finished(self) -> bool:
        """No epoch is left, or too many have brought nothing."""
        stale = self.config.patience and self.since >= self.config.patience
        return bool(self.epoch > self.config.epochs or stale)

    def run(self, *, save_minutes: float, on_epoch: Callable[[dict], None] | None = None) -> pd.DataFrame:
        """History of all epochs, after training those that are left.

        Parameters
        ----------
        save_minutes
            Keep the state so often within an epoch; it is kept after every epoch in any case.
        on_epoch
            Called with an epoch's row of the history.

        Raises
        ------
        KoaError
            If a loss or a logit is not finite, naming the step and the last good checkpoint.
        """
        while not self.finished:
            row = self._one_epoch(save_minutes * 60)
            if on_epoch and self.processes.main:
                on_epoch(row)
        return pd.DataFrame(self.history)

    def _one_epoch(self, save_seconds: float) -> dict:
        started = saved = time.perf_counter()
        # before the epoch is drawn: from here a resumed run draws it again
        self.drawn_from = (self.order.generator.get_state(), self.order.pending)
        plan = [batch.to(self.step.views.device) for batch in self.order.epoch()]
        self.model.train()
        self.step.clock.restart()
        for batch in plan[self.done :]:
            self.losses.append(self.step(batch))
            self.done += 1
            self._look_at_losses(self.done == len(plan))
            if self.done < len(plan) and self._is_time(time.perf_counter() - saved > save_seconds):
                saved = time.perf_counter()
                self.save(self.seconds + saved - started)
        row = {
            "epoch": self.epoch,
            **dict(zip(PARTS, torch.stack(self.losses).mean(0).tolist(), strict=True)),
            "learning_rate": self.step.schedule.get_last_lr()[-1],
        }
        speed = self.step.clock.summary()
        if self.flops is None:
            # cached features: no image goes through a tower
            speed["images_per_second"] = float("nan")
        with self._scored_weights():
            row |= self._scores()
            self._keep_if_best(row)
        row["seconds"] = self.seconds + time.perf_counter() - started
        row |= speed | {"peak_fraction": self._peak_fraction(speed["images_per_second"])}
        self.history.append(row)
        if self.processes.main:
            with replacing(self.folder / "history.csv") as path:
                pd.DataFrame(self.history).to_csv(path, index=False)
        self.epoch, self.done, self.losses, self.seconds = self.epoch + 1, 0, [], 0.0
        self.drawn_from = (self.order.generator.get_state(), self.order.pending)
        self.save(0.0)
        return row

    def _is_time(self, mine: bool) -> bool:
        """The main process's answer, for all of them: saving needs everyone."""
        if self.processes.count == 1:
            return mine
        if self.done % LOOK_EVERY:
            return False
        return bool(self.processes.gather(torch.tensor([mine], device=self.processes.device))[0])

    def _look_at_losses(self, last: bool) -> None:
        # reading a number back holds a GPU up, so there not after every step
        if self.processes.device.type != "cpu" and not last and self.done % LOOK_EVERY:
            return
        recent = torch.stack(self.losses[-LOOK_EVERY:])
        bad = (~torch.isfinite(recent).all(1)).nonzero()
        if len(bad):
            step = self.done - len(recent) + int(bad[0]) + 1
            raise KoaError(
                f"The training loss is not finite in step {step} of epoch {self.epoch}.",
                where=self.folder,
                remedy="Lower the learning rate, or clip the gradient (--set clip_norm=1). "
                + (
                    f"The last good checkpoint is in {self.folder}."
                    if self.history
                    else "There is no good checkpoint yet."
                ),
            )

    def _scored_weights(self) -> AbstractContextManager:
        """The weights that are scored and kept: as trained, averaged over steps, interpolated with the start."""
        average, share = self.step.average, self.config.wise_ft
        if not average and share == 1:
            return nullcontext()
        weights = dict(average.weights if average else trained_state(self.model))
        if share < 1:
            start = {name: value.to(self.processes.device) for name, value in self.start.items()}
            weights |= interpolated(start, {name: weights[name] for name in start}, share)
        return swapped(self.model, weights)

    def _scores(self) -> dict[str, float]:
        self.model.eval()
        # a second view of every val knee is free when cached, and costs a forward pass when not
        both = self.config.scored_views == "both"
        flip = both or self.model.flip_pooling or self.config.regime == "probe"
        mine = torch.arange(len(self.val_kl)).tensor_split(self.processes.count)[self.processes.rank]
        with torch.inference_mode():
            views = [
                self.model.from_features(*self.val_views.features(rows, flip=flip))
                for rows in mine.split(self.config.batch_size)
            ]
            answers = [torch.stack(pair).mean(0) if both else pair[0] for pair in views]
        logits = self.processes.gather_uneven(torch.cat(answers).float())
        check_finite(logits, "the val knees")
        kl, pred = self.val_kl, logits.argmax(1).cpu().numpy()
        return {
            "val_accuracy": float((pred == kl).mean()),
            "val_qwk": float(cohen_kappa_score(kl, pred, labels=GRADES, weights="quadratic")),
            "val_kl1_recall": float(recall_score(kl, pred, labels=[1], average="macro", zero_division=0)),
        }

    def _keep_if_best(self, row: dict) -> None:
        # QWK is undefined where readers and model use one grade only; such an epoch is kept if there is none better
        quality = float(np.nan_to_num(row["val_qwk"], nan=-1.0))
        if quality <= self.best:
            self.since += 1
            return
        self.best, self.since = quality, 0
        if self.processes.main:
            save_checkpoint(self.model, self.folder, **self.facts, epoch=self.epoch)

    def _peak_fraction(self, images_per_second: float) -> float:
        if self.flops is None:
            return float("nan")
        device = self.processes.device
        peak, _ = peak_flops(device, self.model.compute_dtype or torch.float32)
        return self.flops * images_per_second / (peak * self.processes.count)

    def _changing(self) -> dict[str, Tensor]:
        """The model's own tensors that a run may change: all but those of locked towers."""
        locked = tuple(f"{name}_tower." for name in self.model.locked)
        return {name: value for name, value in self.model.state_dict().items() if not name.startswith(locked)}

    def save(self, seconds: float) -> None:
        """Keep the state of this moment; all processes call it, the main one writes."""
        if self.losses:
            self._look_at_losses(last=True)
        randoms = random_states(self.processes)
        if not self.processes.main:
            return
        generator, pending = self.drawn_from
        average = self.step.average
        contents = {
            "epoch": self.epoch,
            "done": self.done,
            "losses": torch.stack(self.losses).cpu() if self.losses else torch.empty(0, len(PARTS)),
            "seconds": seconds,
            "history": self.history,
            "best": float(self.best),
            "since": self.since,
            "generator": generator,
            "pending": pending,
            "random": randoms,
            "model": self._changing(),
            "optimiser": self.step.optimiser.state_dict(),
            "schedule": self.step.schedule.state_dict(),
            "average": average.state_dict() if average else None,
        }
        save_state(self.folder, contents)

    def restore(self, state: dict) -> None:
        """Take up the run where `save` put it down."""
        self.epoch, self.done, self.seconds = state["epoch"], state["done"], state["seconds"]
        self.history, self.best, self.since = state["history"], state["best"], state["since"]
        self.losses = list(state["losses"].to(self.processes.device))
        self.order.generator.set_state(state["generator"])
        self.order.pending = state["pending"]
        own = self._changing()
        for name, value in state["model"].items():
            own[name].copy_(value)
        self.step.optimiser.load_state_dict(state["optimiser"])
        self.step.schedule.load_state_dict(state["schedule"])
        if self.step.average:
            self.step.average.load_state_dict(state["average"])
        set_random_state(state["random"][self.processes.rank], self.processes)
