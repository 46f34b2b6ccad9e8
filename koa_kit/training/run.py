"""A finished run: its model, its history, its predictions, and the folder they lie in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data.splits import DEVELOPMENT
from koa_kit.engine.processes import choose_device
from koa_kit.errors import KoaError
from koa_kit.model import ClipKoa, load_checkpoint, read_record
from koa_kit.paths import replacing
from koa_kit.training.config import TrainConfig
from koa_kit.training.embedding_cache import Progress
from koa_kit.training.prediction import grade_images, predict

RESULTS = (
    "history.csv",
    "model.safetensors",
    "model.json",
    f"{DEVELOPMENT}-predictions.parquet",
    f"{DEVELOPMENT}-embeddings.npy",
    f"{DEVELOPMENT}-metrics.json",
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
        """Predictions and embeddings for other knees, side handled as in training; see `predict`."""
        canonical = self.config.method == "canonical_side"
        return predict(self.model, cohort, canonical_side=canonical, progress=progress)

    def grade(self, images: np.ndarray, sides: Sequence[str]) -> np.ndarray:
        """Probabilities ``(N, 5)`` for radiographs ``(N, H, H)``, side handled as in training; see `grade_images`."""
        return grade_images(self.model, images, sides, canonical_side=self.config.method == "canonical_side")


def write_predictions(folder: Path, predictions: pd.DataFrame, embeddings: np.ndarray, stem: str = "") -> None:
    """Write predictions, embeddings and their metrics into a run folder; `stem` goes before the file names."""
    from koa_kit.error_analysis.metrics import metrics

    with replacing(folder / f"{stem}predictions.parquet") as path:
        predictions.to_parquet(path, index=False)
    with replacing(folder / f"{stem}embeddings.npy") as path:
        np.save(path, embeddings)
    with replacing(folder / f"{stem}metrics.json") as path:
        # a metric that these knees cannot tell (a grade is absent) is null: JSON has no nan
        told = {name: None if np.isnan(value) else value for name, value in metrics(predictions).items()}
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
