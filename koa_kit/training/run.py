"""A run and the folder it lies in: what it was begun with, what it leaves, and who may write there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from koa_kit.cohort import Cohort
from koa_kit.data.splits import EARLIER_NAMES, HOLDOUT
from koa_kit.engine.processes import Processes, choose_device
from koa_kit.engine.resume import clear_state
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.errors import KoaError
from koa_kit.model.checkpoint import load_checkpoint, read_record
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig
from koa_kit.training.prediction import predict
from koa_kit.training.views import Progress

IDENTITY = "state/run.json"
RESULTS = (
    "history.csv",
    "model.safetensors",
    "model.json",
    f"{HOLDOUT}-predictions.parquet",
    f"{HOLDOUT}-embeddings.npy",
    f"{HOLDOUT}-metrics.json",
    "predictions.parquet",
    "embeddings.npy",
    "metrics.json",
)


@dataclass
class Run:
    """A finished training run and what it left in its folder.

    Attributes
    ----------
    folder
        Run folder: config.yaml, history.csv, model.safetensors, model.json, predictions.parquet, embeddings.npy,
        metrics.json.
    config
        Its choices.
    model
        The model of the best epoch, in evaluation mode.
    history
        One row an epoch: losses, learning rate, val scores, seconds.
    predictions
        Predictions of the val knees.
    """

    folder: Path
    config: TrainConfig
    model: ClipKoa
    history: pd.DataFrame
    predictions: pd.DataFrame

    def predict(self, cohort: Cohort, *, progress: Progress | None = None) -> tuple[pd.DataFrame, np.ndarray]:
        """Predictions and embeddings of other knees; see `koa_kit.training.prediction.predict`."""
        return predict(self.model, cohort, progress=progress)

    def grade(self, images: np.ndarray, sides: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(N, 5)`` of radiographs uint8 ``(N, H, H)``; see `ClipKoa.predict`."""
        return self.model.predict(images, sides)[1]


def write_predictions(folder: Path, predictions: pd.DataFrame, embeddings: np.ndarray, stem: str = "") -> None:
    """Write predictions, embeddings and their metrics into a run folder; `stem` goes before the file names."""
    with replacing(folder / f"{stem}predictions.parquet") as path:
        predictions.to_parquet(path, index=False)
    with replacing(folder / f"{stem}embeddings.npy") as path:
        np.save(path, embeddings)
    with replacing(folder / f"{stem}metrics.json") as path:
        # a metric that these knees cannot tell (a grade is absent) is null: JSON has no nan
        told = {name: None if np.isnan(value) else value for name, value in compute_metrics(predictions).items()}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def load_run(folder: str | Path, *, device: str | None = None) -> Run:
    """Run kept in a folder by `fit`.

    Raises
    ------
    KoaError
        If the folder holds no finished run or its checkpoint does not fit its configuration.
    """
    folder = Path(folder)
    config = TrainConfig.read(folder / "config.yaml")
    read_record(folder)
    if not (folder / "predictions.parquet").is_file():
        raise KoaError("The run was not finished: it has no predictions.", where=folder, remedy="Train it again.")
    model = load_checkpoint(folder, towers=config.towers, prompts=config.prompts, device=choose_device(device))
    history = pd.read_csv(folder / "history.csv")
    return Run(folder, config, model, history, pd.read_parquet(folder / "predictions.parquet"))


def split_stem(folder: str | Path, split: str) -> str:
    """What stands before the names of a run's files of one split: nothing for val; earlier runs have other names."""
    split = EARLIER_NAMES.get(split, split)
    for name in (split, *(earlier for earlier, new in EARLIER_NAMES.items() if new == split)):
        if (Path(folder) / f"{name}-predictions.parquet").is_file():
            return f"{name}-"
    return "" if split == "val" else f"{split}-"


def write_history(folder: Path, history: list[dict]) -> None:
    """Write one row per epoch into ``history.csv``."""
    with replacing(folder / "history.csv") as path:
        pd.DataFrame(history).to_csv(path, index=False)


def read_identity(folder: str | Path) -> dict:
    """What a run was begun on: ``cohort``, ``cohort_fingerprint``, ``processes``; of a finished one what is known."""
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
    there, asked = asdict(TrainConfig.read(folder / "config.yaml")), asdict(config)
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


def holds(folder: Path, config: TrainConfig, cohort: Cohort, processes: Processes) -> bool:
    """True if the folder holds a run of these choices on this cohort, finished or not."""
    if not (folder / "config.yaml").is_file():
        return False
    try:
        check_same_run(folder, config, cohort, processes)
    except KoaError:
        return False
    return True


def prepare_folder(folder: Path, config: TrainConfig, cohort: Cohort, processes: Processes, resume: bool) -> None:
    """Make a run folder ready to be trained into: without `resume`, an earlier run's results are removed."""
    if not resume:
        # the mark of a finished run goes first: whatever is left of it then does not count as one
        for name in reversed(RESULTS):
            (folder / name).unlink(missing_ok=True)
        clear_state(folder)
    # what a killed process was writing; nobody else writes here while the folder is held
    for name in ("config.yaml", *RESULTS):
        for unfinished in folder.glob(f".{name}.*"):
            unfinished.unlink()
    config.write(folder / "config.yaml")
    facts = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint, "processes": processes.count}
    with replacing(folder / IDENTITY) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def finish_folder(folder: Path, config: TrainConfig, cohort: Cohort, history: pd.DataFrame, device: str) -> None:
    """Write what the kept model says of the val knees, and of those held out, and remove the state."""
    run = Run(folder, config, load_checkpoint(folder, device=device), history, pd.DataFrame())
    # val last: its metrics are the mark of a finished run
    for split in ((HOLDOUT,) if config.holdout else ()) + ("val",):
        write_predictions(folder, *run.predict(cohort.split(split)), stem="" if split == "val" else f"{split}-")
    clear_state(folder)


@contextmanager
def alone_in(folder: Path, processes: Processes, *, wait: bool) -> Iterator[None]:
    """Hold the run folder; a process that dies lets go of it.

    Raises
    ------
    KoaError
        If another process holds it and it is not to be waited for.
    """
    if not processes.main:
        processes.wait()
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise KoaError(
            "Another process is training into this run folder.",
            where=folder,
            remedy="Wait for it, or give this run another name.",
        ) from None
    processes.wait()
    try:
        yield
    finally:
        lock.release()
