"""Two predictions tables of the same knees: paired row by row, McNemar's test, and Holm's correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import check_predictions
from koa_kit.errors import KoaError


def align_predictions(a: pd.DataFrame, b: pd.DataFrame, *, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """`b` with its rows in the order of `a`'s knees; `KoaError` if the knees, their grades or their patients differ."""
    for predictions, name in ((a, names[0]), (b, names[1])):
        check_predictions(predictions, where=name)
    # the usual case, and at twenty thousand knees a tenth of the time of sorting them out
    if not _equal(a, b, "knee_id"):
        own, others = (table["knee_id"].astype(str) for table in (a, b))
        if odd := sorted(set(own) ^ set(others)):
            what = f"{len(odd)} knees are in one table of predictions only, so nothing can be paired."
            remedy = "Predict the same split of the same cohort with both models."
            raise KoaError(what, where=f"{names[0]} and {names[1]}, for example knee {odd[0]}", remedy=remedy)
        b = b.set_index(others).loc[own]
    b = b.reset_index(drop=True)
    for column in ("kl", "patient"):
        if _equal(a, b, column):
            continue
        differ = a[column].astype(str).to_numpy() != b[column].astype(str).to_numpy()
        if differ.any():
            what = f"{differ.sum()} knees have another {column} in the other table."
            where = f"{names[0]} and {names[1]}, knee {a['knee_id'].to_numpy()[differ][0]}"
            raise KoaError(what, where=where, remedy="Predict the same cohort with both models.")
    return b


def _equal(a: pd.DataFrame, b: pd.DataFrame, column: str) -> bool:
    """A column is the same in both, row by row; of other types it may be the same and is called different."""
    return a[column].reset_index(drop=True).equals(b[column].reset_index(drop=True))


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> dict:
    """McNemar's test that `a` and `b` are right equally often, from the knees only one of them gets right.

    The keys are ``both``, ``only_a``, ``only_b``, ``neither`` (knees), ``p_exact`` (two-sided binomial) and ``p_mid``,
    which is less conservative (Fagerland, Lydersen and Laake 2013). It counts the two knees of a patient as
    independent: prefer the interval of `compare` where the two disagree.
    """
    from scipy.stats import binom, binomtest

    b = align_predictions(a, b)
    a_right, b_right = ((table["pred"] == table["kl"]).to_numpy(bool) for table in (a, b))
    neither, only_b, only_a, both = np.bincount(2 * a_right + b_right, minlength=4).tolist()
    differing = only_a + only_b
    p_exact = float(binomtest(only_a, differing, 0.5).pvalue) if differing else 1.0
    point = float(binom.pmf(only_a, differing, 0.5)) if differing else 0.0
    counts = {"both": both, "only_a": only_a, "only_b": only_b, "neither": neither}
    return counts | {"p_exact": p_exact, "p_mid": p_exact - point / (2 if only_a == only_b else 1)}


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values corrected for their number by Holm's steps (1979), float64 ``(N,)``; nan stays nan and is not counted.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, float)
    corrected, known = np.full(given.shape, np.nan), np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known])]
    corrected[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected
