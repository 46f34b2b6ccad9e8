"""In which order a run meets its knees, and how each is changed: the randomness of an epoch, drawn before it begins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from koa_kit.training.augmentation import draw_changes
from koa_kit.training.config import TrainConfig


class Batch(NamedTuple):
    """The knees of one step."""

    rows: Tensor  # int64 (n,): their rows in the train split
    mirrored: Tensor | None  # bool (n,): which are shown as mirror images; None where the method mirrors none at random
    changes: Tensor | None  # float32 (6, n) from `draw_changes`; None where nothing is augmented
    over: Batch | None = None  # laid over this batch, knee on knee; None where nothing is mixed
    share: float = 0.0  # of the other in each picture, 0 to 0.5

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on another device."""
        rows = self.rows.to(device, non_blocking=True)
        mirrored, changes = (None if part is None else part.to(device, non_blocking=True) for part in self[1:3])
        return Batch(rows, mirrored, changes, self.over.to(device) if self.over else None, self.share)

    def part(self, rank: int, count: int) -> Batch:
        """Share of process `rank` among `count`: every process draws the whole batch, and takes its own knees."""
        if count == 1:
            return self
        rows, mirrored, changes, over, share = self
        return Batch(
            rows.chunk(count)[rank],
            None if mirrored is None else mirrored.chunk(count)[rank],
            None if changes is None else changes.chunk(count, dim=1)[rank],
            over.part(rank, count) if over else None,
            share,
        )

    def shifted(self) -> Batch:
        """The same knees one place further, the last one first."""
        mirrored, changes = (None if part is None else part.roll(1, -1) for part in self[1:3])
        return Batch(self.rows.roll(1, -1), mirrored, changes)


class EpochSampler:
    """Batches of equal size without end: every knee once before any knee twice.

    Where the batch size does not divide the number of knees, the rest of one shuffle opens the next epoch, so that no
    knee is left out and no batch is smaller: one shape all through is faster and needs less memory.

    The `generator`, on the CPU, is the only source of randomness.

    Examples
    --------
    >>> order = EpochSampler(5, TrainConfig(batch_size=2), torch.Generator().manual_seed(0))
    >>> [len(batch.rows) for batch in order.epoch()]
    [2, 2, 2]
    """

    def __init__(self, knees: int, config: TrainConfig, generator: torch.Generator):
        self.knees, self.generator = knees, generator
        self.size = min(config.batch_size, knees)
        self.batches = -(-knees // self.size)
        self.random_flip = config.method == "random_flip"
        self.mixup = config.mixup
        self.augments = config.regime == "finetune" and config.augment > 0
        self.pending = torch.empty(0, dtype=torch.int64)

    def epoch(self) -> list[Batch]:
        """Batches of the next epoch, on the CPU: as many as hold every knee once."""
        self.remember()
        return [self._batch() for _ in range(self.batches)]

    def remember(self) -> None:
        """Let a resumed run draw again from here."""
        self._from = {"generator": self.generator.get_state(), "pending": self.pending}

    def state_dict(self) -> dict[str, Tensor]:
        """What the epoch under way was drawn from."""
        return self._from

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Draw the epoch of `state_dict` again."""
        self.generator.set_state(state["generator"])
        self.pending = state["pending"]

    def _batch(self) -> Batch:
        if len(self.pending) < self.size:
            shuffled = torch.randperm(self.knees, generator=self.generator)
            self.pending = torch.cat([self.pending, shuffled])
        rows, self.pending = self.pending[: self.size], self.pending[self.size :]
        mirrored = torch.rand(self.size, generator=self.generator) < 0.5 if self.random_flip else None
        batch = Batch(rows, mirrored, draw_changes(self.size, self.generator) if self.augments else None)
        if not self.mixup:
            return batch
        share = float(torch.rand((), generator=self.generator)) * self.mixup / 2
        return batch._replace(over=batch.shifted(), share=share)
