"""A run and the folder it lies in: what it was begun with, what it leaves, and who may write there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.configuration import write_yaml
from koa_kit.data.splits import EARLIER_NAMES, HOLDOUT
from koa_kit.engine.processes import Processes, choose_device
from koa_kit.engine.resume import clear_folder, clear_state, read_identity, refuse_other_run, write_identity
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.errors import KoaError
from koa_kit.model.checkpoint import load_checkpoint, read_record
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig
from koa_kit.training.prediction import predict
from koa_kit.training.views import Progress

PREDICTED = ("predictions.parquet", "embeddings.npy", "metrics.json")
RESULTS = (
    "history.csv",
    "model.safetensors",
    "model.json",
    *(f"{split}-{name}" for split in (HOLDOUT, *EARLIER_NAMES) for name in PREDICTED),
    *PREDICTED,
)


@dataclass
class Run:
    """A finished training run and what it left in its folder."""

    folder: Path  # with config.yaml, history.csv, model.safetensors, model.json and, of val, the files PREDICTED
    config: TrainConfig
    model: ClipKoa  # of the best epoch, in evaluation mode
    history: pd.DataFrame  # one row per epoch: losses, learning rate, val scores, seconds
    predictions: pd.DataFrame  # of the val knees

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
        known = {name: None if np.isnan(value) else value for name, value in compute_metrics(predictions).items()}
        path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def load_run(folder: str | Path, *, device: str | None = None) -> Run:
    """Run kept in a folder by `fit`; one that was not finished is refused."""
    folder = Path(folder)
    config = TrainConfig.read(folder / "config.yaml")
    read_record(folder)
    if not all((folder / name).is_file() for name in ("predictions.parquet", "metrics.json")):
        raise KoaError("The run was not finished: it has no metrics.", where=folder, remedy="Train it again.")
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


def check_same_run(folder: Path, config: TrainConfig, cohort: Cohort, processes: Processes) -> None:
    """Raise `KoaError` naming every difference if a run has other choices, knees or another number of processes."""
    there, asked = asdict(TrainConfig.read(folder / "config.yaml")), asdict(config)
    facts = {"processes": processes.count} | read_identity(folder)
    there["processes"], asked["processes"] = facts["processes"], processes.count
    if facts.get("cohort_fingerprint", cohort.fingerprint) != cohort.fingerprint:
        there["cohort"] = f"{facts['cohort']} ({facts['cohort_fingerprint']})"
        asked["cohort"] = f"{cohort.name} ({cohort.fingerprint})"
    refuse_other_run(folder, there, asked)


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
    # the mark of a finished run goes first: whatever is left of it then does not count as one
    clear_folder(folder, [] if resume else reversed(RESULTS), unfinished=("config.yaml", *RESULTS))
    if not resume:
        clear_state(folder)
    write_yaml(config, folder / "config.yaml")
    facts = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint, "processes": processes.count}
    write_identity(folder, facts)


def finish_folder(folder: Path, config: TrainConfig, cohort: Cohort, history: pd.DataFrame, device: str) -> None:
    """Write what the kept model says of the val knees, and of those held out, and remove the state."""
    run = Run(folder, config, load_checkpoint(folder, device=device), history, pd.DataFrame())
    # val last: its metrics are the mark of a finished run
    for split in ((HOLDOUT,) if config.holdout else ()) + ("val",):
        write_predictions(folder, *run.predict(cohort.split(split)), stem="" if split == "val" else f"{split}-")
    clear_state(folder)
