"""Agreement of readers with each other and with the given grades, from the last review of each of each knee."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import metrics_of_counts
from koa_kit.error_analysis.statistics.intervals import check_level, draw_patients, percentile_interval
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.reviews.review import ANSWERS

GIVEN = "given grade"
"""Name under which the grades in the table (``kl``) stand among the readers."""
COLUMNS = ("reader", "knee_id", "patient", "kl", "answer", "grade")
NOT_JUDGED, BAD_IMAGE = -1, -2
K = len(GRADES)
LEVEL = 0.95


def reader_agreement(latest: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row for each pair of readers, then one for each reader and the given grades.

    The grade of an answer "agree" is ``kl``, that of "disagree" the proposed one. "bad_image" is no grade: such knees
    are counted apart and in nothing else. Readers were shown the given grade, so they may lean towards it and, through
    it, towards each other: high values are no proof of independent agreement.

    Parameters
    ----------
    latest
        Table of `ReviewLog.latest`: one row a reader and knee, with `COLUMNS`.
    draws, seed
        Bootstrap draws over patients: all knees of a patient are drawn together.

    Returns
    -------
    DataFrame
        ``first``, ``second``, the readers by name, `GIVEN` for the given grades; ``knees`` that both graded, their
        ``patients``; ``bad_image``, knees that both were shown and at least one found ungradable; ``agreement``, share
        of exactly the same grade; ``kappa`` with quadratic weights (Cohen 1968, Psychological Bulletin 70, 213-220),
        ``low`` and ``high``, its 95 % interval, and ``draws`` that gave one; ``explanation``, why there is no kappa or
        interval, else empty. Too little is nan and never a guess.
    """
    check_level(draws, LEVEL)
    _check(latest)
    readers = sorted(latest["reader"].unique())
    graded, given, patient = _grades(latest, readers)
    # pairs mostly share their patients; one table at a time keeps memory small
    weights = lru_cache(maxsize=1)(lambda patients: draw_patients(patients, draws, seed))
    pairs = [(readers[a], readers[b], graded[a], graded[b]) for a, b in combinations(range(len(readers)), 2)]
    pairs += [(name, GIVEN, graded[row], given[row]) for row, name in enumerate(readers)]
    rows = []
    for first, second, one, other in pairs:
        shown, both = (one != NOT_JUDGED) & (other != NOT_JUDGED), (one >= 0) & (other >= 0)
        found = {"first": first, "second": second, "knees": int(both.sum()), "bad_image": int((shown & ~both).sum())}
        rows.append(found | _compared(one[both], other[both], patient[both], weights))
    order = ["first", "second", "knees", "patients", "bad_image", "agreement"]
    return pd.DataFrame(rows, columns=[*order, "kappa", "low", "high", "draws", "explanation"])


def _compared(one: np.ndarray, other: np.ndarray, patient: np.ndarray, weights: Callable) -> dict[str, object]:
    """What two lists of grades of the same knees say about each other."""
    codes, row = np.unique(patient, return_inverse=True)
    found = {"patients": len(codes), "agreement": np.nan, "kappa": np.nan, "low": np.nan, "high": np.nan, "draws": 0}
    if not len(one):
        return found | {"explanation": "no knee was graded by both"}
    found["agreement"] = float((one == other).mean())
    if len(codes) < 2:
        return found | {"explanation": "both graded knees of one patient only"}
    if len(np.unique(np.r_[one, other])) < 2:
        return found | {"explanation": f"no variation: both graded every knee KL{one[0]}"}
    cells = np.bincount(row * K * K + one * K + other, minlength=len(codes) * K * K).reshape(-1, K * K)
    counts = np.vstack([cells.sum(0), weights(len(codes)) @ cells.astype(float)]).reshape(-1, K, K)
    kappa = metrics_of_counts(counts)["qwk"]
    low, high, usable = percentile_interval(kappa[0], kappa[1:], LEVEL)
    explanation = "" if usable else "no draw of patients has any variation"
    return found | {"kappa": float(kappa[0]), "low": low, "high": high, "draws": usable, "explanation": explanation}


def _grades(latest: pd.DataFrame, readers: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grades of each reader and those they were shown, int ``(readers, knees)``, and the patient of each knee."""
    knee, names = pd.factorize(latest["knee_id"])
    reader = pd.Index(readers).get_indexer(latest["reader"])
    kl = latest["kl"].to_numpy(int)
    proposed = latest["grade"].astype("Int64").fillna(BAD_IMAGE).to_numpy(int)
    graded = np.full((len(readers), len(names)), NOT_JUDGED)
    given = graded.copy()
    graded[reader, knee] = np.where(latest["answer"] == "agree", kl, proposed)
    given[reader, knee] = kl
    patient = np.empty(len(names), int)
    patient[knee] = pd.factorize(latest["patient"].astype(str), sort=True)[0]  # by name: row order draws nothing else
    return graded, given, patient


def _check(latest: pd.DataFrame) -> None:
    if not isinstance(latest, pd.DataFrame) or not set(COLUMNS) <= set(latest):
        _refuse(f"Reviews have the columns {', '.join(COLUMNS)}.")
    if latest[["reader", "knee_id", "patient"]].isna().any(axis=None):
        _refuse("A review has no reader, knee or patient.")
    if (latest["reader"] == GIVEN).any():
        _refuse(f"A reader is called {GIVEN!r}.", remedy="Rename the reader: the grades are.")
    if (latest.groupby("knee_id")["patient"].nunique() > 1).any():
        _refuse("A knee belongs to two patients.", remedy="Do not join logs of two data sets.")
    twice, wants = latest.duplicated(["reader", "knee_id"]), latest["answer"] == "disagree"
    fits = latest["answer"].isin(ANSWERS) & latest["kl"].isin(GRADES)
    fits &= (wants & latest["grade"].isin(GRADES)) | (~wants & latest["grade"].isna())
    only = "are not the only one of their reader of their knee"
    for odd, what in ((twice, only), (~fits, "have an unknown answer or grade")):
        if odd.any():
            _refuse(f"{int(odd.sum())} reviews {what}.", f"latest, knee {latest['knee_id'][odd].iloc[0]}")


def _refuse(what: str, where: str = "latest", remedy: str = "Pass ReviewLog(path).latest().") -> None:
    raise KoaError(what, where=where, remedy=remedy)
