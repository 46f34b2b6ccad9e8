"""One step of training, from rows of the train split to changed weights: what `fit` repeats and `koa bench` times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from koa_kit.engine.memory import tune_memory
from koa_kit.engine.processes import Processes, share_batch_norms
from koa_kit.engine.throughput import StepClock, count_flops
from koa_kit.errors import KoaError
from koa_kit.losses import LossParts, clip_koa_loss
from koa_kit.model import ClipKoa
from koa_kit.training.averaging import WeightAverage
from koa_kit.training.batches import Batch
from koa_kit.training.config import TrainConfig
from koa_kit.training.optimiser import make_optimiser
from koa_kit.training.views import FeatureViews, ImageViews

PARTS = ("loss", "prompt_loss", "symmetry_loss", "consistency_loss")


class TrainingStep:
    """A model, its optimiser and its knees; called with a batch, it takes one step and returns the loss parts.

    The knee and its mirror image go through the image tower in one batch, the prompts through the text tower once a
    step, or once in all where it is locked. Nothing is read back from the device.

    Parameters
    ----------
    model
        Model to train, on its device.
    views
        Its train knees.
    kl
        int64 ``(N,)`` their grades.
    config
        Choices of the run.
    steps
        Length of the schedule.
    processes
        From `find_processes`; omitted, this process is alone.
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
        device = model.logit_scale.device
        self.model, self.views, self.config = model, views, config
        self.processes = processes or Processes(0, 1, device)
        self.kl = kl.to(device)
        weights = (
            None
            if config.grade_weights is None
            else torch.tensor(config.grade_weights, dtype=torch.float32, device=device)
        )
        self.loss_options = {
            **config.loss_weights,
            "grade_weights": weights,
            "label_smoothing": config.label_smoothing,
        }
        model.compute_dtype = compute_dtype(config.precision, device)
        share_batch_norms(model, self.processes)
        if config.compile:
            _compile(model, config.compile)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser, self.schedule = make_optimiser(model, config, steps)
        self.average = WeightAverage(model, config.ema) if config.ema else None
        self.clock = StepClock(device)
        if device.type == "cpu":
            tune_memory()

    def __call__(self, batch: Batch) -> Tensor:
        """Loss parts ``(4,)`` of this batch before the step, on the device, in the order of `PARTS`."""
        mine = batch.part(self.processes.rank, self.processes.count)
        with self.clock.data():
            inputs = self._inputs(mine)
        logits, logits_flip = self.model.from_features(*self.views.encode(inputs, flip=self.config.sees_flip))
        gather = self.processes.gather
        logits, logits_flip = gather(logits), None if logits_flip is None else gather(logits_flip)
        loss = self._loss(logits, logits_flip, batch.rows)
        if batch.over:
            other = self._loss(logits, logits_flip, batch.over.rows)
            loss = LossParts(*(torch.lerp(one, two, batch.share) for one, two in zip(loss, other, strict=True)))
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        self.processes.sum_gradients(self.trained)
        if self.config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        if self.average:
            self.average.update()
        self.clock.step(len(batch.rows) * (2 if self.config.sees_flip else 1))
        return torch.stack([part.detach() for part in loss])

    def _inputs(self, batch: Batch) -> Tensor:
        inputs = self.views.inputs(
            batch.rows, mirrored=batch.mirrored, changes=batch.changes, strength=self.config.augment
        )
        return torch.lerp(inputs, self._inputs(batch.over), batch.share) if batch.over else inputs

    def _loss(self, logits: Tensor, logits_flip: Tensor | None, rows: Tensor) -> LossParts:
        return clip_koa_loss(logits, logits_flip, self.kl[rows.to(self.kl.device)], **self.loss_options)


def flops_per_image(model: ClipKoa) -> int:
    """Floating point operations of one image forward and backward through the image tower, as torch counts them.

    Counted in evaluation mode on an empty image, so that no statistic and no random number changes.
    """
    training = model.training
    model.eval()
    image = torch.zeros(1, *model.towers.image_shape, device=model.logit_scale.device)
    counted = count_flops(lambda: model.image_features(image).sum().backward())
    model.zero_grad(set_to_none=True)
    model.train(training)
    return counted


def compute_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of the towers, None for float32: "auto" is bf16 on a GPU that has it.

    On a CPU "auto" is float32: bf16 autocast made lite0 slower there, and results would depend on the machine.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bf16": torch.bfloat16}[precision]


def _compile(model: ClipKoa, backend: str) -> None:
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        known = ", ".join(torch.compiler.list_backends())
        raise KoaError(f"torch.compile has no backend {backend!r}.", remedy=f"Choose from {known}.")
    # in place, so that the names in checkpoints stay as they are
    model.image_tower.compile(backend=backend)


@contextmanager
def naming_a_smaller_batch(config: TrainConfig) -> Iterator[None]:
    """Turn running out of memory inside the block into a `KoaError` that names the next smaller batch."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch reports a full main memory as a plain RuntimeError
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        smaller = config.batch_size // 2
        raise KoaError(
            f"Out of memory with {config.batch_size} knees a batch at {config.image_size} px.",
            where=str(error).splitlines()[0],
            remedy=f"Try --set batch_size={smaller}." if smaller else "Choose a smaller image_size or other towers.",
        ) from error
