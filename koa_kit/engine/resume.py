"""The state of a run under way: all that a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

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
    """What `save_state` kept last, on the CPU; None where nothing was.

    Raises
    ------
    KoaError
        If the file is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever its reader stumbled on
        raise KoaError(
            f"The state of the run cannot be read: {error}", where=path, remedy="Train again without --resume."
        ) from error


def clear_state(folder: Path) -> None:
    """Remove what only a run under way needs."""
    shutil.rmtree(folder / "state", ignore_errors=True)


def random_states(processes: Processes) -> list[torch.Tensor]:
    """State of torch's own random numbers (dropout) of every process, in order of rank."""
    on_gpu = processes.device.type == "cuda"
    return processes.all(torch.cuda.get_rng_state(processes.device) if on_gpu else torch.get_rng_state())


def set_random_state(states: list[torch.Tensor], processes: Processes) -> None:
    """Take up this process's random numbers where `random_states` left them."""
    if processes.device.type == "cuda":
        torch.cuda.set_rng_state(states[processes.rank], processes.device)
    else:
        torch.set_rng_state(states[processes.rank])
