"""What changed between two tables of predictions of the same knees: which knees, which scores, which cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import confusion, metrics_of_counts
from koa_kit.error_analysis.statistics.comparison import aligned
from koa_kit.error_analysis.statistics.intervals import check_level, percentile_interval
from koa_kit.error_analysis.statistics.shares import drawn_counts
from koa_kit.grades import GRADES

K = len(GRADES)
BECAME = ("right", "wrong", "other wrong")
SCORES = ("accuracy", "qwk", "kl1_recall")


def changed_knees(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """One row a knee that is given another grade, the largest change of its KL1 probability first.

    Parameters
    ----------
    before, after
        Predictions of the same knees, in any order.

    Returns
    -------
    DataFrame
        ``knee_id``, ``patient``, ``kl``, ``from`` and ``to`` the grades given before and after, ``became`` one of
        `BECAME`, ``p1_change`` the KL1 probability after minus before, -1 to 1.

    Raises
    ------
    KoaError
        If the two are not of the same knees.
    """
    after = aligned(before, after, names=("before", "after"))
    kl, old, new = (values.to_numpy(int) for values in (before["kl"], before["pred"], after["pred"]))
    table = pd.DataFrame(
        {
            "knee_id": before["knee_id"].to_numpy(),
            "patient": before["patient"].to_numpy(),
            "kl": kl,
            "from": old,
            "to": new,
            "became": np.select([new == kl, old == kl], BECAME[:2], BECAME[2]),
            "p1_change": after["p1"].to_numpy(float) - before["p1"].to_numpy(float),
        }
    )[old != new]
    largest = np.argsort(-abs(table["p1_change"].to_numpy()), kind="stable")
    return table.iloc[largest].reset_index(drop=True)


def change_summary(
    before: pd.DataFrame,
    after: pd.DataFrame,
    *,
    metrics: Sequence[str] = SCORES,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, float | int]:
    """Scores before, after and their difference with a paired interval over patients, and how many knees changed.

    Parameters
    ----------
    before, after
        Predictions of the same knees, in any order.
    metrics
        Metrics that follow from confusion counts; see `metrics_of_counts`.
    draws, seed, level
        Bootstrap draws of patients, the same for both tables; their seed; share of the draws inside the interval.

    Returns
    -------
    dict
        For each metric ``NAME_before``, ``NAME_after``, ``NAME_difference`` (after minus before), ``NAME_low``,
        ``NAME_high``; then ``changed``, ``became_right``, ``became_wrong``, ``other_wrong``, ``n_knees``,
        ``n_patients``. With one patient alone there is no interval: nan.

    Raises
    ------
    KoaError
        If the two are not of the same knees, a metric is unknown, or `draws` or `level` make no interval.
    """
    check_level(draws, level)
    after = aligned(before, after, names=("before", "after"))
    kl, old, new = (values.to_numpy(int) for values in (before["kl"], before["pred"], after["pred"]))
    counts = drawn_counts(before["patient"], (kl * K + old) * K + new, K**3, draws=draws, seed=seed)
    cells = counts.reshape(-1, K, K, K)
    first, second = (metrics_of_counts(cells.sum(axis), metrics) for axis in (3, 2))
    patients = int(before["patient"].nunique())
    summary = {}
    for name in first:
        gap = second[name] - first[name]
        low, high, _ = percentile_interval(gap[0], gap[1:] if patients > 1 else gap[:0], level)
        found = {"before": first[name][0], "after": second[name][0], "difference": gap[0], "low": low, "high": high}
        summary |= {f"{name}_{part}": float(value) for part, value in found.items()}
    moved, right, wrong = old != new, (new == kl) & (old != kl), (old == kl) & (new != kl)
    return summary | {
        "changed": int(moved.sum()),
        "became_right": int(right.sum()),
        "became_wrong": int(wrong.sum()),
        "other_wrong": int((moved & ~right & ~wrong).sum()),
        "n_knees": len(before),
        "n_patients": patients,
    }


def confusion_difference(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Knees more (or fewer) in each cell after than before, int ``(5, 5)``, reader's grade by the model's.

    Every row adds up to 0: the reader's grades stay.

    Raises
    ------
    KoaError
        If the two are not of the same knees.
    """
    after = aligned(before, after, names=("before", "after"))
    return confusion(after) - confusion(before)
