"""What happens around learning: hooks that the training loop calls at fixed moments, in the order they are given."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from koa_kit.engine.averaging import moving_average
from koa_kit.engine.processes import Processes
from koa_kit.engine.resume import load_state, save_state
from koa_kit.errors import KoaError

LOOK_EVERY = 50
"""Steps on a GPU between two looks at the losses, and among several processes between two looks at the clock."""


@dataclass
class Progress:
    """How far a run is: the epoch under way and its steps so far, the epochs behind it, and the best of them."""

    epoch: int = 1  # under way
    done: int = 0  # steps of it
    losses: list[Tensor] = field(default_factory=list)  # loss parts of each of these steps
    seconds: float = 0.0  # spent on this epoch before an interruption
    history: list[dict] = field(default_factory=list)  # one row per finished epoch
    best: float = -float("inf")  # highest score of an epoch
    since: int = 0  # epochs since then
    device: str = "cpu"  # where the losses lie

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.done, self.losses, self.seconds = self.epoch + 1, 0, [], 0.0

    def state_dict(self) -> dict:
        """All of it, for ``torch.save``."""
        return vars(self) | {"losses": torch.stack(self.losses).cpu() if self.losses else torch.empty(0)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave; ``ValueError`` if it contradicts itself."""
        if (len(state["history"]), len(state["losses"])) != (state["epoch"] - 1, state["done"]):
            raise ValueError(f"it is in step {state['done']} of epoch {state['epoch']}, and has not what was before")
        vars(self).update(state | {"losses": list(state["losses"].to(self.device)), "device": self.device})


class Hook:
    """Does something around learning; every moment may be left out."""

    def epoch_begins(self, progress: Progress) -> None:
        """Before an epoch is drawn."""

    def step_ends(self, progress: Progress, steps: int) -> None:
        """After each step, of `steps` in the epoch."""

    def epoch_ends(self, progress: Progress) -> None:
        """After an epoch was scored, `progress` being at the next one."""


class FiniteLosses(Hook):
    """Stops a run whose loss is not finite, naming the step."""

    def __init__(self, folder: Path, device: torch.device):
        self.folder, self.device = folder, device

    def step_ends(self, progress: Progress, steps: int) -> None:
        # reading a number back holds a GPU up, so there not after every step
        if self.device.type == "cpu" or progress.done == steps or progress.done % LOOK_EVERY == 0:
            self.look(progress)

    def look(self, progress: Progress) -> None:
        """Raise `KoaError` if a loss since the last look is not finite."""
        if not progress.losses:
            return
        recent = torch.stack(progress.losses[-LOOK_EVERY:])
        bad = (~torch.isfinite(recent).all(1)).nonzero()
        if len(bad):
            step = progress.done - len(recent) + int(bad[0]) + 1
            good = f"The last good checkpoint is in {self.folder}." if progress.history else "There is none good yet."
            raise KoaError(
                f"The training loss is not finite in step {step} of epoch {progress.epoch}.",
                where=self.folder,
                remedy=f"Lower the learning rate, or clip the gradient (--set clip_norm=1). {good}",
            )


class Average(Hook):
    """Moving average of a model's weights, updated after each step; the average is in ``.model``."""

    def __init__(self, model: nn.Module, decay: float):
        self.follows, self.average = model, moving_average(model, decay)
        self.model: Any = self.average.module

    def step_ends(self, progress: Progress, steps: int) -> None:
        self.average.update_parameters(self.follows)


class KeepState(Hook):
    """Keeps the state of a run after every epoch, and every so many seconds within one.

    `parts` are what has a ``state_dict``, by name; all processes come here together, and the main one looks at the
    clock and writes into `folder`. No state is kept of losses that are not `finite`.
    """

    def __init__(
        self, folder: Path, parts: Mapping[str, Any], seconds: float, processes: Processes, finite: FiniteLosses
    ):
        self.folder, self.parts, self.every, self.processes = folder, parts, seconds, processes
        self.finite = finite

    def epoch_begins(self, progress: Progress) -> None:
        self.saved = time.perf_counter()

    def step_ends(self, progress: Progress, steps: int) -> None:
        if progress.done == steps or (self.processes.count > 1 and progress.done % LOOK_EVERY):
            return
        elapsed = time.perf_counter() - self.saved
        if self.processes.all(elapsed > self.every)[0]:
            progress.seconds += elapsed
            self.saved = time.perf_counter()
            self.finite.look(progress)
            self.save()

    def epoch_ends(self, progress: Progress) -> None:
        self.save()

    def save(self) -> None:
        """Keep the state of this moment."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if self.processes.main:
            save_state(self.folder, state)

    def restore(self) -> None:
        """Take up the run where `save` put it down; nothing happens where it never did."""
        kept = load_state(self.folder)
        if kept is None:
            return
        if set(kept) | {"origin"} != set(self.parts):  # states of earlier versions do not say where they belong
            raise KoaError(
                "The state of the run was kept by another version of koa_kit.",
                where=self.folder,
                remedy="Train again without --resume, or go on with that version.",
            )
        try:
            for name in [name for name in self.parts if name in kept]:
                self.parts[name].load_state_dict(kept[name])
            # torch takes averages of whatever shape for a weight
            for weight, averages in self.parts["optimiser"].state.items():
                if any(value.ndim and value.shape != weight.shape for value in averages.values()):
                    raise ValueError("the averages are those of another model")
        except (KoaError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # each part fails in its own way on what is none of its
            raise KoaError(
                f"The state does not belong to the run ({name}: {error}).",
                where=self.folder,
                remedy="Restore it, or train again without --resume.",
            ) from error


@contextmanager
def naming_a_smaller_batch(batch: int, image_size: int) -> Iterator[None]:
    """Turn running out of memory inside the block into a `KoaError` that names the next smaller batch."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch reports a full main memory as a plain RuntimeError
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        smaller = batch // 2
        raise KoaError(
            f"Out of memory with {batch} knees a batch at {image_size} px.",
            where=str(error).splitlines()[0],
            remedy=f"Try --set batch_size={smaller}." if smaller else "Choose a smaller image size or other towers.",
        ) from error
