"""Predictions of held-out knees: of a model trained now, or of the pretrained one that comes with the kit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.source import REAL_KNEES
from koa_kit.data import find_dataset
from koa_kit.data.splits import HOLDOUT, set_aside, split_stem
from koa_kit.error_analysis.predictions import read_embeddings, read_predictions
from koa_kit.errors import KoaError
from koa_kit.model import read_record
from koa_kit.pretrained.load import load_pretrained
from koa_kit.series.session import NotebookSession
from koa_kit.training.config import TrainConfig
from koa_kit.training.fitting import fit_or_load
from koa_kit.training.run import Run
from koa_kit.training.stability import augmented_answers


@dataclass(frozen=True)
class HeldOutResults:
    """A model's predictions of knees of patients it was not trained on.

    ``run`` is the model, with its configuration and its predictions of val; ``split`` is "test" of synthetic knees and
    "holdout" of real ones, whose test split stays sealed. ``predictions`` and ``embeddings`` have one row per knee, the
    latter float32 ``(N, 2, D)`` of each knee and its mirror image. ``knees`` are their images, ``None`` where the
    radiographs are not here and only the kit's own tables were read. ``fingerprint`` is that of the cohort the model
    was trained on.
    """

    run: Run
    split: str
    predictions: pd.DataFrame
    embeddings: np.ndarray
    knees: Cohort | None
    fingerprint: str

    def augmented(self, *, most: int = 400, views: int = 4, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray] | None:
        """Predictions of at most `most` random knees, and probabilities ``(n, views, 5)`` of augmented images of them.

        ``None`` without radiographs; see `augmented_answers`.
        """
        if self.knees is None:
            return None
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.predictions))[:most])
        answers = augmented_answers(self.run.model, self.knees.take(rows), views=views, seed=seed)
        return self.predictions.iloc[rows].reset_index(drop=True), answers


def held_out_results(session: NotebookSession, method: str = "symmetry_consistency") -> HeldOutResults:
    """Results of the pretrained model where the session asks for real knees, else of one trained by `method`.

    With the data set oai-kl224 at laptop or full scale nothing is trained, and no radiograph is needed. Otherwise
    the run is kept in ``OUT_DIR``, where a second call reads it. Raises `KoaError` if the data set is damaged, or must
    be here to train and is not.
    """
    if session.dataset == REAL_KNEES and session.scale != "smoke":
        return _pretrained_results(session)
    cohort = session.cohort()
    config = TrainConfig.for_scale(session.scale, method=method, seed=session.seed)
    run = fit_or_load(cohort, config, session.out_dir / "runs" / method, device=session.device)
    cohort = set_aside(cohort, config.holdout)
    split = next(split for split in ("test", HOLDOUT, "val") if split in cohort.splits)  # the strictest first
    knees = cohort.split(split)
    return HeldOutResults(run, split, *run.predict(knees), knees, cohort.fingerprint)


def _pretrained_results(session: NotebookSession) -> HeldOutResults:
    """The pretrained model's own tables; the radiographs too if they are here."""
    run = load_pretrained(device=session.device)
    fingerprint = read_record(run.folder)["cohort_fingerprint"]
    stem = split_stem(run.folder, HOLDOUT)
    predictions = read_predictions(run.folder / f"{stem}predictions.parquet")
    embeddings = read_embeddings(run.folder / f"{stem}embeddings.npy", len(predictions))
    knees = None
    try:
        find_dataset(session.dataset, session.data_dir)
    except KoaError:
        print(f"The radiographs of {session.dataset} are not here: the model's predictions are, and are enough.")
        print(f"To see the knees as well, run `koa data fetch {session.dataset}`.")
    else:
        cohort = session.cohort()
        if cohort.fingerprint != fingerprint:
            raise KoaError(
                "The predictions that come with the kit are of other knees.",
                where=f"{cohort.fingerprint} here, {fingerprint} there",
                remedy=f"Run `koa data verify {session.dataset}`.",
            )
        knees = set_aside(cohort, run.config.holdout).split(HOLDOUT)
        if list(knees.table["knee_id"]) != list(predictions["knee_id"]):
            raise KoaError("The model's predictions are in another order than the knees.", where=run.folder)
    return HeldOutResults(run, HOLDOUT, predictions, embeddings, knees, fingerprint)
