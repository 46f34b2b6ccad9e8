"""One training of a grid: its name and choices, and training it wherever it is sent."""

from __future__ import annotations

import re
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING

from koa_kit.data import load_cohort
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.errors import KoaError
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig

if TYPE_CHECKING:
    from koa_kit.training.run import Run

FAILURE = "failure.txt"
# torch seeds and thread counts belong to a process: a Dask worker with several threads runs one trial after the other
_ONE_TRIAL_PER_PROCESS = Lock()


@dataclass(frozen=True)
class Trial:
    """One run of a grid: its folder below that of the grid, such as "symmetry/seed-1", its choices, and the name of the
    set of changed choices it belongs to (empty where there is none).
    """

    name: str
    config: TrainConfig
    variation: str = ""

    @property
    def arm(self) -> str:
        """What it is compared as: its name without the seed."""
        return self.name.rsplit("/", 1)[0]

    def __post_init__(self):
        parts = PurePosixPath(self.name).parts
        if not parts or not all(re.fullmatch(r"[\w=+,-][\w.=+,-]*", part) for part in parts):
            raise KoaError(
                "A trial's name must be fit for a folder.",
                where=repr(self.name),
                remedy="Use letters, digits and . = + , - _ and no blank.",
            )


def run_trial(
    trial: Trial, *, folder: Path, dataset: str, data_dir: Path, cohort: str, device: str | None, threads: int
) -> tuple[str, dict]:
    """Name of a trial and the facts that training or finding it brought; nothing is raised.

    It is trained in this process into ``folder/<name>``, on the knees of `dataset` with the fingerprint `cohort`.
    """
    import torch

    from koa_kit.training.fitting import fit_or_load

    target = folder / trial.name
    with _ONE_TRIAL_PER_PROCESS, ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        try:
            knees = load_cohort(dataset, data_dir=data_dir)
            if knees.fingerprint != cohort:
                raise KoaError(
                    "This worker sees other knees than the process that started the grid.",
                    where=f"{dataset}: {knees.fingerprint}, not {cohort}",
                    remedy="Give all machines the same data folder with --data-dir.",
                )
            before = _finished_at(target)
            run = fit_or_load(knees, trial.config, target, device=device)
            (target / FAILURE).unlink(missing_ok=True)
            return trial.name, {"status": "found" if before == _finished_at(target) else "finished"} | _scores(run)
        except Exception as error:
            return trial.name, failure_facts(error, target)


def failure_facts(error: Exception, target: Path) -> dict:
    """Status and message of a failed trial, after its traceback has been written into its folder."""
    message = str(error) if isinstance(error, KoaError) else f"{type(error).__name__}: {error}"
    # a full disk may be why the trial failed; the table then still has the message
    with suppress(OSError, KoaError), replacing(target / FAILURE) as path:
        path.write_text(f"{message}\n\n{''.join(traceback.format_exception(error))}", encoding="utf-8")
    return {"status": "failed", "message": " ".join(message.split())}


def _finished_at(target: Path) -> int | None:
    """When the run was finished, which changes when it is trained anew."""
    path = target / "metrics.json"
    return path.stat().st_mtime_ns if path.exists() else None


def _scores(run: Run) -> dict:
    from koa_kit.model import read_record

    record = read_record(run.folder)
    return {
        "seconds": round(float(run.history["seconds"].sum()), 3),
        "epochs_run": len(run.history),
        "best_epoch": record["epoch"],
        **compute_metrics(run.predictions),
        **{name: record["versions"].get(name) for name in ("koa_kit", "torch")},
    }
