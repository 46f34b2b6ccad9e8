"""Percentile intervals by bootstrap over patients: both knees of a patient are drawn together or not at all.

Every metric but one is a function of sums over knees (confusion counts, gaps of the confidence bins, flips), so a draw
is a row of patient weights and all draws are one matrix product. AUC is a weighted rank sum, also over all draws at
once: nothing is approximated and nothing drawn fewer times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.calibration import BINS, confidence_bin
from koa_kit.error_analysis.metrics import METRIC_LABELS, METRICS, OSTEOARTHRITIS, definite_probability
from koa_kit.error_analysis.predictions import check_predictions, probabilities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

K = len(GRADES)
BLOCK = 250
"""Draws ranked at a time for AUC, which keeps the memory of 6,000 knees under 20 MB."""


def intervals(
    predictions: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRICS,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row a metric: ``metric``, ``value``, ``low``, ``high``, ``n_knees``, ``n_patients``, ``draws``.

    Parameters
    ----------
    metrics
        Names out of `METRICS`, or ``kl0_recall`` … ``kl4_f1``.
    draws
        Bootstrap draws over patients.
    seed
        Same seed, same patients: same draws.
    level
        Share of the draws inside the interval.

    Returns
    -------
    DataFrame
        ``draws`` counts those that could tell the metric: one that happened to draw no KL4 knee says nothing about KL4
        and is left out. A metric that is nan has a nan interval.

    Raises
    ------
    KoaError
        If a metric is unknown, or `draws` or `level` make no interval.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    check_level(draws, level)
    drawn = bootstrap(predictions, metrics, draws=draws, seed=seed)
    rows = []
    for name in metrics:
        value, samples = drawn[name][0], drawn[name][1:]
        low, high, told = percentile_interval(value, samples, level)
        rows.append({"metric": name, "value": value, "low": low, "high": high})
        rows[-1] |= {"n_knees": len(predictions), "n_patients": predictions["patient"].nunique(), "draws": told}
    return pd.DataFrame(rows)


def check_level(draws: int, level: float) -> None:
    """Nothing; raises `KoaError` if `draws` or `level` make no interval."""
    if draws < 1:
        raise KoaError(f"{draws} draws give no interval.", where="draws", remedy="2000 is usual.")
    if not 0 < level < 1:
        raise KoaError(f"A level of {level!r} is no share.", where="level", remedy="Give for example 0.95.")


def percentile_interval(value: float, samples: np.ndarray, level: float) -> tuple[float, float, int]:
    """Low and high end of the percentile interval, and the number of samples that are not nan."""
    told = samples[~np.isnan(samples)]
    if np.isnan(value) or not len(told):
        return float("nan"), float("nan"), len(told)
    low, high = np.percentile(told, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high), len(told)


def bootstrap(
    predictions: pd.DataFrame, metrics: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(1 + draws,)``: the value on all knees, then on each draw of patients, nan if untold.

    Two tables of the same patients get the same draws for the same seed, whatever the order of their rows.
    """
    check_predictions(predictions)
    unknown = [name for name in metrics if name not in METRIC_LABELS]
    if unknown:
        raise KoaError(f"There is no metric {unknown[0]!r}.", remedy=f"Choose from {', '.join(METRIC_LABELS)}.")
    patients, patient = np.unique(predictions["patient"].astype(str).to_numpy(str), return_inverse=True)
    weights = np.vstack([np.ones(len(patients)), draw_patients(len(patients), draws, seed)])
    sums = np.zeros((len(patients), K * K + BINS + 1))
    np.add.at(sums, patient, _per_knee(predictions))
    totals = weights @ sums
    known = _from_totals(totals)
    if "auc_kl2" in metrics:
        definite = predictions["kl"].to_numpy(int) >= OSTEOARTHRITIS
        known["auc_kl2"] = weighted_auc(definite, definite_probability(predictions), weights, patient)
    return {name: known[name] for name in metrics}


def draw_patients(patients: int, draws: int, seed: int) -> np.ndarray:
    """How often each patient is drawn, float64 ``(draws, patients)``, each row adding up to `patients`."""
    drawn = np.random.default_rng(seed).integers(patients, size=(draws, patients))
    drawn += np.arange(draws)[:, None] * patients
    return np.bincount(drawn.ravel(), minlength=draws * patients).reshape(draws, patients).astype(float)


def drawn_counts(patient: pd.Series, cell: np.ndarray, cells: int, *, draws: int, seed: int = 0) -> np.ndarray:
    """Number of knees in each cell, float64 ``(1 + draws, cells)``: of all knees, then of each draw of patients.

    A draw takes as many patients as there are, with replacement, each with all knees. Patients whose knees fill the
    same cells cannot be told apart in the counts, so how often each kind of patient is drawn is multinomial. That is
    the bootstrap over patients exactly, at the price of some hundred kinds instead of many thousand patients; the
    order of rows does not matter.

    Parameters
    ----------
    patient, cell
        Of each knee, ``(N,)``; cells are whole numbers from 0 to `cells` - 1. At least one knee.
    """
    row, names = pd.factorize(patient)
    held = np.bincount(row * cells + cell, minlength=len(names) * cells).reshape(len(names), cells)
    # rows as opaque bytes sort ten times faster than rows of numbers
    held = np.ascontiguousarray(held, np.min_scalar_type(held.max()))
    kinds, alike = np.unique(held.view((np.void, held.itemsize * cells)).ravel(), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), alike / len(names), size=draws)
    return np.vstack([alike, drawn]).astype(float) @ kinds.view(held.dtype).reshape(-1, cells)


def chosen_metrics(counts: np.ndarray, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(M,)`` from confusion counts ``(M, 5, 5)``; see `metrics_of_counts`.

    Raises
    ------
    KoaError
        If a metric does not follow from counts.
    """
    found = metrics_of_counts(counts)
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in metrics:
        if name not in found:
            raise KoaError(
                f"There is no metric {name!r} of confusion counts.",
                where="metrics",
                remedy=f"Choose from {', '.join(found)}; koa_kit.error_analysis.statistics.intervals tells the others.",
            )
    return {name: found[name] for name in metrics}


def _per_knee(predictions: pd.DataFrame) -> np.ndarray:
    """What each knee adds to the sums: its cell of the confusion matrix, its gap in its bin, whether it flips."""
    rows = np.arange(len(predictions))
    kl, pred = predictions["kl"].to_numpy(int), predictions["pred"].to_numpy(int)
    confidence = probabilities(predictions).max(1)
    table = np.zeros((len(rows), K * K + BINS + 1))
    table[rows, kl * K + pred] = 1
    table[rows, K * K + confidence_bin(confidence)] = confidence - (kl == pred)
    table[:, -1] = pred != predictions["pred_flip"].to_numpy(int)
    return table


def _from_totals(totals: np.ndarray) -> dict[str, np.ndarray]:
    counts = totals[:, : K * K].reshape(-1, K, K)
    knees = counts.sum((1, 2))
    return metrics_of_counts(counts) | {
        "ece": abs(totals[:, K * K : -1]).sum(1) / knees,
        "flip_disagreement": totals[:, -1] / knees,
    }


def metrics_of_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics that follow from confusion counts ``(M, 5, 5)``, reader by model, each float64 ``(M,)``."""
    counts = np.asarray(counts, float)
    knees, right = counts.sum((1, 2)), np.diagonal(counts, axis1=1, axis2=2)
    support, given = counts.sum(2), counts.sum(1)
    distance = abs(np.subtract.outer(GRADES, GRADES))
    expected = np.einsum("mi,mj,ij->m", support, given, distance**2) / knees
    recall, precision = _ratio(right, support), _ratio(right, given)
    f1 = _ratio(2 * right, support + given)
    found = {
        "accuracy": right.sum(1) / knees,
        "balanced_accuracy": _mean_told(recall),
        "qwk": 1 - _ratio((counts * distance**2).sum((1, 2)), expected),
        "mae": (counts * distance).sum((1, 2)) / knees,
        "macro_f1": _mean_told(f1),
    }
    for grade in GRADES:
        for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
            found[f"kl{grade}_{name}"] = values[:, grade]
    return found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean_told(values: np.ndarray) -> np.ndarray:
    told = ~np.isnan(values)
    return np.where(told, values, 0).sum(1) / told.sum(1)


def weighted_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for each row of patient weights, ties counted half; nan where one class is absent.

    Parameters
    ----------
    positive, score, patient
        bool, float and row number of the patient, ``(N,)`` each.
    weights
        ``(M, patients)``.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    areas = []
    for block in range(0, len(weights), BLOCK):
        knees = weights[block : block + BLOCK][:, patient[order]]
        up = np.add.reduceat(knees * positive[order], starts, axis=1)
        down = np.add.reduceat(knees * ~positive[order], starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        areas.append(_ratio((up * below).sum(1), up.sum(1) * down.sum(1)))
    return np.concatenate(areas)
