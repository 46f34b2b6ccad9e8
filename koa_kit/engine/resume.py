"""The state of a run under way: all that a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn

from koa_kit.engine.identity import refuse_other_run
from koa_kit.engine.processes import Processes
from koa_kit.errors import KoaError
from koa_kit.paths import replacing

STATE = "state/state.pt"


def save_state(folder: Path, contents: dict) -> None:
    """Keep tensors, numbers and texts of a run under way; appears under its name only when whole."""
    with replacing(folder / STATE) as path, path.open("wb") as file:
        # through a file of Python's: torch's own does not say why it could not write
        torch.save(contents, file)


def load_state(folder: Path) -> dict | None:
    """What `save_state` kept last, on the CPU; None where nothing was. Raises `KoaError` if the file is damaged."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as parts:
            # torch itself does not compare what it reads with the checksums that are in the file
            if changed := parts.testzip():
                raise ValueError(f"{changed} was changed")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise TypeError("it is no record")
        return state
    except Exception as error:  # torch raises whatever its reader stumbled on
        raise KoaError(
            f"The state of the run cannot be read: {error}", where=path, remedy="Train again without --resume."
        ) from error


class Origin:
    """What the state of a run belongs to, by name: it is not taken up by another run, or on another kind of device."""

    def __init__(self, folder: Path, facts: dict):
        self.folder, self.facts = folder, facts

    def state_dict(self) -> dict:
        """Numbers, texts and tuples of them."""
        return self.facts

    def load_state_dict(self, facts: dict) -> None:
        """Raise `KoaError` if `facts` are others."""
        refuse_other_run(self.folder, facts, self.facts)


class RandomState:
    """State of torch's own random numbers (dropout) of every process."""

    def __init__(self, processes: Processes):
        self.processes = processes

    def state_dict(self) -> list[torch.Tensor]:
        """In order of rank; all processes call it together."""
        on_gpu = self.processes.device.type == "cuda"
        return self.processes.all(torch.cuda.get_rng_state(self.processes.device) if on_gpu else torch.get_rng_state())

    def load_state_dict(self, states: list[torch.Tensor]) -> None:
        """Take up this process's random numbers where `state_dict` left them."""
        state = states[self.processes.rank]
        if self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.processes.device)
        else:
            torch.set_rng_state(state)


class PartialWeights:
    """A model's own tensors without those whose names begin with one of `left_out`; they are not copied."""

    def __init__(self, model: nn.Module, left_out: tuple[str, ...]):
        self.model, self.left_out = model, left_out

    def state_dict(self) -> dict[str, torch.Tensor]:
        """By name."""
        state = self.model.state_dict().items()
        return {name: value for name, value in state if not name.startswith(self.left_out)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Copy into the model's tensors."""
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in state.items()}:
            raise ValueError("the weights are those of another model")
        for name, value in state.items():
            own[name].copy_(value)


@contextmanager
def alone_in(folder: Path, processes: Processes, *, wait: bool) -> Iterator[None]:
    """Hold a folder, waiting for another process or refusing at once; a process that dies lets go of it."""
    with ExitStack() as held:
        if processes.main:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(folder.parent / f".{folder.name}.lock", timeout=-1 if wait else 0))
            except Timeout:
                raise KoaError(
                    "Another process is training into this run folder.",
                    where=folder,
                    remedy="Wait for it, or give this run another name.",
                ) from None
        processes.wait()
        yield
