"""Phantoms beside real knees: the measures of realism, and what a pretrained tower sees of the difference."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from koa_kit.data import load_cohort
from koa_kit.data.cohort import Cohort
from koa_kit.data.phantom import phantom_cohort
from koa_kit.data.phantom.realism import looks, realism, telltale_auc
from koa_kit.errors import KoaError
from koa_kit.model import make_model
from koa_kit.training.embedding_cache import Progress, embed_cohort


def compare_with_real(
    dataset: str = "oai-kl224",
    *,
    knees: int = 1000,
    towers: str = "lite0-minilm",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, float]:
    """Measures of `koa_kit.data.phantom.realism.realism`, and the AUC of `telltale_auc` on a tower's features.

    Parameters
    ----------
    dataset
        Real knees; those of their train split are used, and phantoms with the same shares of the grades.
    knees
        Knees of either kind, whole patients; fewer where there are not as many.
    towers
        Whose image features the classifier sees; they are not trained here.
    seed
        Of the patients chosen, of the phantoms, and of the halves.
    data_dir
        Folder of the data sets.
    progress
        Called with (done, total) knees as features are computed.

    Raises
    ------
    KoaError
        If the data set is not here, or `knees` is below 20.
    """
    if knees < 20:
        raise KoaError(f"{knees} knees are too few to compare.", remedy="Give at least 20.")
    real = load_cohort(dataset, data_dir=data_dir, splits=["train"])
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(real.table["patient"].unique())[: knees // 2]
    real = real.take(np.flatnonzero(real.table["patient"].isin(chosen)))
    shares = np.bincount(real.table["kl"], minlength=5) / len(real)
    made_up = phantom_cohort(len(chosen), size=real.images.shape[1], seed=seed, shares=tuple(shares))
    patients = [cohort.table["patient"].to_numpy(str) for cohort in (real, made_up)]
    table = realism(looks(real.images, patients[0]), looks(made_up.images, patients[1]), seed=seed)
    model = make_model(towers, image_size=None if towers == "koa-tiny" else 128, locked=("image", "text"))
    return table, telltale_auc(*(_features(model, cohort, progress) for cohort in (real, made_up)), *patients)


def _features(model, cohort: Cohort, progress: Progress | None) -> np.ndarray:
    return np.asarray(embed_cohort(model, cohort, cache=False, progress=progress)[:, 0])
