"""One step of training, from rows of the train split to changed weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from koa_kit.engine.clock import StepClock
from koa_kit.engine.memory import tune_memory
from koa_kit.engine.modes import check_backend
from koa_kit.engine.optimiser import Part, one_cycle, parameter_groups
from koa_kit.engine.processes import Processes
from koa_kit.losses import LossParts, clip_koa_loss
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.training.batches import Batch
from koa_kit.training.config import TrainConfig
from koa_kit.training.views import FeatureViews, ImageViews

PARTS = ("loss", "prompt_loss", "symmetry_loss", "consistency_loss")


class BothViews(nn.Module):
    """Logits of a batch and of its mirror images: all that a gradient passes through."""

    def __init__(self, model: ClipKoa, views: FeatureViews | ImageViews, sees_flip: bool):
        super().__init__()
        self.model, self.views, self.sees_flip = model, views, sees_flip

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.model.logits(*self.views.encode(self.model, inputs, flip=self.sees_flip))


class TrainingStep:
    """A model, its optimiser and its knees; called with a batch, it takes one step and returns the loss parts.

    The knee and its mirror image go through the image tower in one batch. Nothing is read back from the device. Of
    several processes each takes its part of the batch, and gradients are averaged.

    `views` are the train knees and `kl` their grades, int64 ``(N,)``; `steps` is the length of the schedule.
    """

    def __init__(
        self,
        model: ClipKoa,
        views: FeatureViews | ImageViews,
        kl: Tensor,
        config: TrainConfig,
        *,
        steps: int,
        processes: Processes | None = None,
    ):
        self.model, self.views, self.config = model, views, config
        self.processes = processes or Processes(0, 1, model.device)
        self.kl, weights = kl.to(model.device), config.grade_weights
        self.grade_weights = None if weights is None else torch.tensor(weights, device=model.device)
        self.losses = {**config.loss_weights, "label_smoothing": config.label_smoothing}
        model.compute_dtype = compute_dtype(config.precision, model.device)
        self.clock = StepClock(model.device)
        self.both_views = self.processes.shared(BothViews(model, views, config.sees_flip))
        if config.compile:
            check_backend(config.compile)
            # in place, so that the names in checkpoints stay as they are
            model.image_tower.compile(backend=config.compile)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = parameter_groups(parts_of(model, config), config.weight_decay)
        self.optimiser, self.schedule = one_cycle(groups, steps, config.warmup)
        if model.device.type == "cpu":
            tune_memory()

    def __call__(self, batch: Batch) -> Tensor:
        """Loss parts ``(4,)`` of this batch before the step, on the device, in the order of `PARTS`."""
        mine = batch.part(self.processes.rank, self.processes.count)
        with self.clock.data():
            inputs = self._inputs(mine)
        logits, logits_flip = self.both_views(inputs)
        loss = self._loss(logits, logits_flip, mine.rows, batch.rows)
        if batch.over and mine.over:
            other = self._loss(logits, logits_flip, mine.over.rows, batch.over.rows)
            loss = LossParts(*(torch.lerp(one, two, batch.share) for one, two in zip(loss, other, strict=True)))
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm)
        self.optimiser.step()  # here the model learns
        self.schedule.step()
        self.clock.step(len(batch.rows) * (2 if self.config.sees_flip else 1))
        return torch.stack([part.detach() for part in loss])

    @property
    def rate(self) -> float:
        """Learning rate of the projections in the next step."""
        return float(self.schedule.get_last_lr()[-1])

    def _inputs(self, batch: Batch) -> Tensor:
        inputs = self.views.inputs(
            batch.rows, mirrored=batch.mirrored, changes=batch.changes, strength=self.config.augment
        )
        return torch.lerp(inputs, self._inputs(batch.over), batch.share) if batch.over else inputs

    def _loss(self, logits: Tensor, logits_flip: Tensor | None, mine: Tensor, every: Tensor) -> LossParts:
        kl = self.kl[mine.to(self.kl.device)]
        parts = clip_koa_loss(logits, logits_flip, kl, grade_weights=self.grade_weights, **self.losses)
        if self.grade_weights is None or self.processes.count == 1:
            return parts
        # a weighted mean divides by the weights of its own knees; averaged over processes it must be by those of all
        share = self.grade_weights[kl].sum() / self.grade_weights[self.kl[every.to(self.kl.device)]].sum()
        weighted = self.processes.count * share
        prompt, symmetry = weighted * parts.prompt, weighted * parts.symmetry
        total = parts.total + (prompt - parts.prompt) + self.losses["symmetry"] * (symmetry - parts.symmetry)
        return LossParts(total, prompt, symmetry, parts.consistency)


def parts_of(model: ClipKoa, config: TrainConfig) -> list[Part]:
    """Image tower, text tower and projections, each with the rate it learns at."""
    tower_rate = config.learning_rate * config.tower_rate
    towers = [Part(model.component(name), tower_rate, config.layer_decay) for name in ("image", "text")]
    return [*towers, Part(model.component("projections"), config.learning_rate)]


def compute_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of the towers, None for float32: "auto" is bf16 on a GPU that has it.

    On a CPU "auto" is float32: bf16 autocast made lite0 slower there, and results would depend on the machine.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bf16": torch.bfloat16}[precision]
