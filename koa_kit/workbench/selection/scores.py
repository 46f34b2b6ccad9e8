"""Scores of some knees, and what changed between two predictions of the same knees, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import metrics_of_counts
from koa_kit.error_analysis.predictions import check_predictions
from koa_kit.error_analysis.statistics.comparison import align_predictions
from koa_kit.error_analysis.statistics.intervals import check_level, percentile_interval
from koa_kit.error_analysis.statistics.shares import drawn_counts
from koa_kit.grades import GRADES

K = len(GRADES)
BECAME = ("right", "wrong", "other wrong")
SCORES = ("accuracy", "qwk", "kl1_recall")
LEVEL = 0.95


def scores_of(
    predictions: pd.DataFrame, metrics: Sequence[str] = SCORES, *, draws: int = 500, seed: int = 0
) -> pd.DataFrame:
    """One row a metric: ``metric``, ``value``, ``low``, ``high``, ``n_knees``, ``n_patients``, also of few knees.

    Of no knee every score is nan; of one patient there is a value and no interval. Intervals are those of
    `koa_kit.error_analysis.statistics.intervals` with other random draws; see `drawn_counts`.
    """
    check_level(draws, LEVEL)
    patients, counts = 0, np.zeros((1, K * K))
    if len(predictions):
        check_predictions(predictions)
        cell = predictions["kl"].to_numpy(int) * K + predictions["pred"].to_numpy(int)
        patients = int(predictions["patient"].nunique())
        counts = drawn_counts(predictions["patient"], cell, K * K, draws=draws, seed=seed)
    with np.errstate(invalid="ignore"):  # of no knee every share is 0 / 0
        found = metrics_of_counts(counts.reshape(-1, K, K), metrics)
    rows = [(name, float(values[0]), *_interval(values, patients)) for name, values in found.items()]
    table = pd.DataFrame(rows, columns=["metric", "value", "low", "high"])
    return table.assign(n_knees=len(predictions), n_patients=patients)


def _interval(values: np.ndarray, patients: int) -> tuple[float, float]:
    """Interval of draws that stand after the value itself; nan where one patient alone cannot tell."""
    return percentile_interval(values[0], values[1:] if patients > 1 else values[:0], LEVEL)[:2]


def changed_knees(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """One row a knee that is given another grade, the largest change of its KL1 probability first.

    ``knee_id``, ``patient``, ``kl``, the grades given before and after as ``from`` and ``to``, ``became`` one of
    `BECAME`, ``p1_change`` the KL1 probability after minus before. The tables hold the same knees in any order.
    """
    after = align_predictions(before, after, names=("before", "after"))
    table = before[["knee_id", "patient", "kl"]].reset_index(drop=True).astype({"kl": int})
    table["from"], table["to"] = before["pred"].to_numpy(int), after["pred"].to_numpy(int)
    right = [table["to"] == table["kl"], table["from"] == table["kl"]]
    table["became"] = np.select(right, BECAME[:2], BECAME[2])
    table["p1_change"] = after["p1"].to_numpy(float) - before["p1"].to_numpy(float)
    moved = table[table["from"] != table["to"]]
    return moved.sort_values("p1_change", key=lambda change: -abs(change), kind="stable", ignore_index=True)


def change_summary(
    before: pd.DataFrame, after: pd.DataFrame, *, draws: int = 1000, seed: int = 0
) -> dict[str, float | int]:
    """Scores before, after and their difference with a paired interval over patients, and how many knees changed.

    For each of `SCORES` ``NAME_before``, ``NAME_after``, ``NAME_difference`` (after minus before), ``NAME_low``,
    ``NAME_high``; then ``changed``, ``became_right``, ``became_wrong``, ``other_wrong``, ``n_knees``, ``n_patients``.
    The tables hold the same knees in any order; of one patient alone there is no interval: nan.
    """
    check_level(draws, LEVEL)
    after = align_predictions(before, after, names=("before", "after"))
    kl, old, new = (values.to_numpy(int) for values in (before["kl"], before["pred"], after["pred"]))
    counts = drawn_counts(before["patient"], (kl * K + old) * K + new, K**3, draws=draws, seed=seed)
    cells = counts.reshape(-1, K, K, K)
    first, second = (metrics_of_counts(cells.sum(axis), SCORES) for axis in (3, 2))
    patients = int(before["patient"].nunique())
    summary: dict[str, float] = {}
    for name in first:
        gap = second[name] - first[name]
        low, high = _interval(gap, patients)
        found = {"before": first[name][0], "after": second[name][0], "difference": gap[0], "low": low, "high": high}
        summary |= {f"{name}_{part}": float(value) for part, value in found.items()}
    moved, right, wrong = old != new, (new == kl) & (old != kl), (old == kl) & (new != kl)
    changed = {"changed": moved, "became_right": right, "became_wrong": wrong, "other_wrong": moved & ~right & ~wrong}
    summary |= {name: int(knees.sum()) for name, knees in changed.items()}
    return summary | {"n_knees": len(before), "n_patients": patients}
