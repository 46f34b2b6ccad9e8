"""The state of a run under way: all that a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from koa_kit.cohort import Cohort
from koa_kit.engine.processes import Processes
from koa_kit.errors import KoaError
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig

STATE, IDENTITY = "state/state.pt", "state/run.json"


def begin_state(folder: Path, cohort: Cohort, processes: Processes) -> None:
    """Write down what a resumed run must agree with, apart from its configuration."""
    facts = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint, "processes": processes.count}
    with replacing(folder / IDENTITY) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_identity(folder: str | Path) -> dict:
    """What `begin_state` wrote; of a finished run what its checkpoint remembers; empty where there is neither."""
    for name in (IDENTITY, "model.json"):
        if (path := Path(folder) / name).is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
            return {key: record[key] for key in ("cohort", "cohort_fingerprint", "processes") if key in record}
    return {}


def check_same_run(folder: Path, config: TrainConfig, cohort: Cohort, processes: Processes) -> None:
    """Refuse to go on with a run of other choices, other knees or another number of processes.

    Raises
    ------
    KoaError
        Naming every difference.
    """
    there = asdict(TrainConfig.read(folder / "config.yaml"))
    asked = asdict(config)
    differing = [
        f"{name}: {there[name]!r} there, {asked[name]!r} asked" for name in asked if there[name] != asked[name]
    ]
    if facts := read_identity(folder):
        if facts["cohort_fingerprint"] != cohort.fingerprint:
            knees = (
                f"{facts['cohort']} ({facts['cohort_fingerprint']}) there, {cohort.name} ({cohort.fingerprint}) asked"
            )
            differing.append(f"cohort: {knees}")
        if facts.get("processes", processes.count) != processes.count:
            differing.append(f"processes: {facts['processes']} there, {processes.count} asked")
    if differing:
        raise KoaError(
            "The run cannot be resumed: it was begun otherwise.",
            where="; ".join(differing),
            remedy=f"Resume {folder} with the same choices, give this run another name, or leave --resume out to begin "
            "anew.",
        )


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
    if processes.device.type == "cuda":
        mine = torch.cuda.get_rng_state(processes.device).to(processes.device)
    else:
        mine = torch.get_rng_state()
    return [state.cpu() for state in processes.gather(mine[None])]


def set_random_state(state: torch.Tensor, processes: Processes) -> None:
    """Take up the random numbers where `random_states` found them."""
    if processes.device.type == "cuda":
        torch.cuda.set_rng_state(state, processes.device)
    else:
        torch.set_rng_state(state)
