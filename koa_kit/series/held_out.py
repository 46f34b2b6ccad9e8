"""What a lesson examines: a model trained on the spot, or the one that comes with the kit, and knees it never met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.source import REAL_KNEES
from koa_kit.data import find_dataset
from koa_kit.data.splits import DEVELOPMENT, set_aside
from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.errors import KoaError
from koa_kit.model import read_record
from koa_kit.pretrained.load import load_pretrained
from koa_kit.training.config import TrainConfig
from koa_kit.training.loop import fit_or_load
from koa_kit.training.run import Run
from koa_kit.training.stability import augmented_answers

if TYPE_CHECKING:
    from koa_kit.series.session import Lesson

SPLITS = ("test", DEVELOPMENT, "val")
"""Where to examine, the strictest first."""


@dataclass(frozen=True)
class Exam:
    """A model's answers to knees it never met.

    Attributes
    ----------
    run
        The model, with its choices and its predictions of val.
    split
        Whose knees: "test" of made-up ones, "development" of real ones, whose test split stays sealed.
    predictions, embeddings
        Of these knees, row for row; embeddings float32 ``(N, 2, D)`` of each knee and its mirror image.
    knees
        Their radiographs; ``None`` where the reader has none and only the tables that came with the kit were read.
    fingerprint
        Of the cohort the model was trained on.
    """

    run: Run
    split: str
    predictions: pd.DataFrame
    embeddings: np.ndarray
    knees: Cohort | None
    fingerprint: str

    def nudged(self, *, most: int = 400, views: int = 4, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray] | None:
        """Predictions of at most `most` knees and their answers ``(n, views, 5)`` moved and re-exposed a little.

        ``None`` without radiographs. The knees are drawn at random; see `augmented_answers`.
        """
        if self.knees is None:
            return None
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.predictions))[:most])
        knees = replace(self.knees, images=self.knees.images[rows], table=self.knees.table.iloc[rows])
        answers = augmented_answers(self.run.model, knees, views=views, seed=seed)
        return self.predictions.iloc[rows].reset_index(drop=True), answers


def exam_for_lesson(lesson: Lesson, method: str = "symmetry_consistency") -> Exam:
    """The model that comes with the kit where a lesson asks for real knees, else one trained on the lesson's own.

    Parameters
    ----------
    lesson
        At laptop or full scale with the data set oai-kl224 nothing is trained, and no radiograph is needed.
    method
        Of the model that is trained otherwise; the run is kept in ``OUT_DIR``, a second call reads it.

    Raises
    ------
    KoaError
        If the data set is here and damaged, or must be here to train and is not.
    """
    if lesson.dataset == REAL_KNEES and lesson.scale != "smoke":
        return _as_it_came(lesson)
    cohort = lesson.cohort()
    config = TrainConfig.for_scale(lesson.scale, method=method, seed=lesson.seed)
    run = fit_or_load(cohort, config, lesson.out_dir / "runs" / method, device=lesson.device)
    cohort = set_aside(cohort, config.development)
    split = next(split for split in SPLITS if split in cohort.splits)
    knees = cohort.split(split)
    return Exam(run, split, *run.predict(knees), knees, cohort.fingerprint)


def _as_it_came(lesson: Lesson) -> Exam:
    """The packaged model's own tables; its radiographs if they are here and are the same."""
    run = load_pretrained(device=lesson.device)
    fingerprint = read_record(run.folder)["cohort_fingerprint"]
    predictions = read_predictions(run.folder / f"{DEVELOPMENT}-predictions.parquet")
    embeddings = np.load(run.folder / f"{DEVELOPMENT}-embeddings.npy")
    try:
        find_dataset(lesson.dataset, lesson.data_dir)
    except KoaError:
        print(f"The radiographs of {lesson.dataset} are not here: the model's answers to them are, and are enough.")
        print(f"To see the knees as well, run `koa data fetch {lesson.dataset}`.")
        return Exam(run, DEVELOPMENT, predictions, embeddings, None, fingerprint)
    cohort = lesson.cohort()
    if cohort.fingerprint != fingerprint:
        raise KoaError(
            "The model that comes with the kit was examined on other knees.",
            where=f"{cohort.fingerprint} here, {fingerprint} there",
            remedy=f"Run `koa data verify {lesson.dataset}`.",
        )
    knees = set_aside(cohort, run.config.development).split(DEVELOPMENT)
    if list(knees.table["knee_id"]) != list(predictions["knee_id"]):
        raise KoaError("The model's answers are in another order than the knees.", where=run.folder)
    return Exam(run, DEVELOPMENT, predictions, embeddings, knees, fingerprint)
