"""A finished run: its choices, its model, and what it says of the val knees, read from the folder it lies in."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data.polarity import looks_inverted
from koa_kit.data.radiograph import read_radiograph
from koa_kit.data.splits import HOLDOUT
from koa_kit.engine.identity import clear_state
from koa_kit.engine.pixels import check_images
from koa_kit.engine.processes import choose_device
from koa_kit.engine.run_folder import CONFIG, GRAPH, check_sums, one_run, write_sums
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.model.checkpoint import load_checkpoint, read_record
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.model.grader import Grader, check_sides
from koa_kit.paths import plain_file, replacing
from koa_kit.training.config import TrainConfig
from koa_kit.training.prediction import predict
from koa_kit.training.step import PARTS
from koa_kit.training.views import Progress

HISTORY = ("epoch", *PARTS, "learning_rate", "val_accuracy", "val_qwk", "val_kl1_recall", "seconds")
"""Columns of every ``history.csv``."""


@dataclass
class Run:
    """A finished training run and what it left in its folder."""

    folder: Path  # with config.yaml, history.csv, model.safetensors, model.json and, of val, the files PREDICTED
    config: TrainConfig
    model: ClipKoa  # of the best epoch, in evaluation mode
    history: pd.DataFrame  # one row per epoch: losses, learning rate, val scores, seconds
    predictions: pd.DataFrame  # of the val knees

    @cached_property
    def grader(self) -> Grader:
        """What `grade` asks: on a CPU the graph of ``koa export`` where there is one, being faster, else the model."""
        from koa_kit.model.graph import load_graph

        exported = self.model.device.type == "cpu" and all((self.folder / name).is_file() for name in GRAPH)
        return load_graph(self.folder) if exported else self.model

    def predict(self, cohort: Cohort, *, progress: Progress | None = None) -> tuple[pd.DataFrame, np.ndarray]:
        """Predictions and embeddings of other knees; see `koa_kit.training.prediction.predict`."""
        return predict(self.model, cohort, progress=progress)

    def grade(self, images: str | os.PathLike | np.ndarray | Sequence, sides: str | Sequence[str]) -> pd.DataFrame:
        """Grade and probabilities of radiographs, by the model's own rule.

        Parameters
        ----------
        images
            Path of a file that `read_radiograph` reads, or pixels uint8 ``(H, H)``, square; or several of either.
            Where bone is dark they are inverted, as on loading.
        sides
            "L" or "R" of each.

        Returns
        -------
        pandas.DataFrame
            One row a knee: ``grade`` 0 to 4, ``name`` such as "KL1 Doubtful", and ``p0…p4`` adding up to 1.

        Raises
        ------
        KoaError
            If a file is refused, an image is none that a model can be shown, or a side is missing; see `check_images`.
        """
        one = isinstance(images, str | os.PathLike) or (isinstance(images, np.ndarray) and images.ndim == 2)
        images = [images] if one or isinstance(images, bytes) else images
        if not isinstance(images, Sequence | np.ndarray) or not len(images):
            raise KoaError("There is no radiograph to grade.", where=repr(images), remedy="Give a path, or pixels.")
        several = isinstance(sides, Sequence | np.ndarray | pd.Series) and not isinstance(sides, str)
        sides = list(sides) if several else [str(sides)]
        seen = [self.grader.seen(_film(image, number)[None]) for number, image in enumerate(images)]
        check_sides(sides, len(images))
        grades, p = self.grader.predict(np.concatenate(seen), sides)
        names = [grade_label(grade) for grade in grades]
        return pd.DataFrame({"grade": grades, "name": names} | {f"p{grade}": p[:, grade] for grade in GRADES})


def _film(image: str | os.PathLike | np.ndarray, number: int) -> np.ndarray:
    """Pixels uint8 ``(H, H)``, bone bright, of a file or of pixels; errors name the file, or the image's `number`."""
    from_file = isinstance(image, str | os.PathLike)
    pixels = read_radiograph(image)[0] if isinstance(image, str | os.PathLike) else np.asarray(image)
    try:
        check_images(pixels[None])
    except KoaError as error:
        where = image if from_file else f"image {number}: {pixels.dtype}, shape {pixels.shape}"
        raise KoaError(error.what, where=where, remedy=error.remedy) from None
    return 255 - pixels if not from_file and looks_inverted(pixels) else pixels


def write_predictions(
    folder: Path, predictions: pd.DataFrame, embeddings: np.ndarray, stem: str = "", *, seal: bool = False
) -> None:
    """Write predictions, embeddings and their metrics into a run folder; `stem` goes before the file names.

    With `seal`, all that lies there is summed before the metrics are written: those of val mark a finished run.
    """
    with replacing(folder / f"{stem}predictions.parquet") as path:
        predictions.to_parquet(path, index=False)
    with replacing(folder / f"{stem}embeddings.npy") as path:
        np.save(path, embeddings)
    if seal:
        write_sums(folder)
    with replacing(folder / f"{stem}metrics.json") as path:
        # a metric that these knees cannot tell (a grade is absent) is null: JSON has no nan
        known = {name: None if np.isnan(value) else value for name, value in compute_metrics(predictions).items()}
        path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def load_run(folder: str | Path, *, device: str | None = None) -> Run:
    """Run kept in a folder by `fit`.

    Raises
    ------
    KoaError
        If there is no run, it was not finished, or one of its files is damaged or does not belong to the others.
    """
    folder = Path(folder)
    with one_run(folder):
        config = TrainConfig.read(folder / CONFIG)
        read_record(folder)
        if not all((folder / name).is_file() for name in ("predictions.parquet", "metrics.json")):
            raise KoaError("The run was not finished: it has no metrics.", where=folder, remedy="Train it again.")
        check_sums(folder)
        model = load_checkpoint(folder, towers=config.towers, prompts=config.prompts, device=choose_device(device))
        predictions = read_predictions(folder / "predictions.parquet")
        return Run(folder, config, model, read_history(folder / "history.csv"), predictions)


def read_history(path: Path) -> pd.DataFrame:
    """History of a run, one row an epoch; `KoaError` if it is absent or damaged."""
    try:
        history = pd.read_csv(plain_file(path))
        if missing := {*HISTORY} - {*history}:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        known = np.isfinite(history.astype(float)[[*PARTS, "learning_rate", "val_accuracy", "seconds"]]).all(axis=None)
        if history.empty or history["epoch"].tolist() != list(range(1, len(history) + 1)) or not known:
            raise ValueError("an epoch is missing, or a loss or a score is no number")
    except (OSError, ValueError) as error:  # pandas' own errors are of these kinds
        remedy = "Restore it, or train the run again."
        raise KoaError(f"The history of the run cannot be read: {error}.", where=path, remedy=remedy) from error
    return history


def finish(folder: Path, config: TrainConfig, cohort: Cohort, history: pd.DataFrame, device: str) -> None:
    """Write what the kept model says of the val knees, and of those held out, and remove the state."""
    run = Run(folder, config, load_checkpoint(folder, device=device), history, pd.DataFrame())
    if config.holdout:
        write_predictions(folder, *run.predict(cohort.split(HOLDOUT)), stem=f"{HOLDOUT}-")
    write_predictions(folder, *run.predict(cohort.split("val")), seal=True)
    clear_state(folder)
