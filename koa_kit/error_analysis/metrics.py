"""Metrics of a predictions table; what these knees cannot tell is nan, never 0.

One scorer, `weighted_metrics`, serves a single table and thousands of bootstrap draws: all but AUC are sums over knees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import checked, grade_column, probabilities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label

OVERALL = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "qwk": "Quadratic weighted kappa",
    "mae": "Mean absolute error (grades)",
    "macro_f1": "Macro F1",
    "auc_kl2": "AUC for KL ≥ 2",
    "ece": "Expected calibration error",
    "flip_disagreement": "Grade changes when flipped",
}
PER_GRADE = {"recall": "recall", "precision": "precision", "f1": "F1"}
METRIC_LABELS = OVERALL | {
    f"kl{grade}_{name}": f"KL{grade} {PER_GRADE[name]}" for grade in GRADES for name in PER_GRADE
}
METRICS = (*OVERALL, "kl1_recall", "kl1_precision", "kl1_f1")
OSTEOARTHRITIS = 2  # the grade from which a knee counts as definite osteoarthritis
BINS = 15  # of equal width, of the expected calibration error
K = len(GRADES)
BLOCK = 250  # draws ranked at a time for AUC, which keeps the memory of 6,000 knees under 20 MB


@checked
def compute_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """All of `METRICS` by name, each nan where these knees cannot tell it.

    A recall is nan when no knee has the grade, a precision when no knee was given it, ``qwk`` (Cohen's kappa with
    quadratic weights) when all knees and all predictions are one grade, ``auc_kl2`` (p2 + p3 + p4 for KL >= 2) when
    all knees lie on one side of KL2. ``balanced_accuracy`` is the mean recall over the grades that occur, ``macro_f1``
    the mean over the grades that occur or were given. ``ece`` has 15 equal-width bins of the top probability.
    """
    group = np.zeros(len(predictions), int)
    return {name: float(value[0]) for name, value in weighted_metrics(predictions, np.ones((1, 1)), group).items()}


def weighted_metrics(
    predictions: pd.DataFrame, weights: np.ndarray, group: np.ndarray, metrics: str | Sequence[str] = METRICS
) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(M,)``: the metric under each of M weightings of the knees.

    `weights`, ``(M, G)``, say how often each group of knees counts; `group`, ``(N,)``, which group, for example which
    patient, a knee belongs to. A name that is not in `METRIC_LABELS` raises `KoaError`.
    """
    kl, pred, flipped = (grade_column(predictions, column) for column in ("kl", "pred", "pred_flip"))
    p, rows = probabilities(predictions), np.arange(len(predictions))
    confidence = p.max(1)
    added = np.zeros((len(rows), K * K + BINS + 1))  # per knee: its cell of the counts, its gap in its bin, its flip
    added[rows, kl * K + pred] = 1
    added[rows, K * K + confidence_bin(confidence)] = confidence - (kl == pred)
    added[:, -1] = pred != flipped
    sums = np.zeros((weights.shape[1], added.shape[1]))
    np.add.at(sums, group, added)
    counts, gaps, flips = np.split(weights @ sums, [K * K, K * K + BINS], axis=1)
    knees = counts.sum(1)
    found = metrics_of_counts(counts.reshape(-1, K, K))
    found |= {"ece": abs(gaps).sum(1) / knees, "flip_disagreement": flips[:, 0] / knees}
    if "auc_kl2" in metrics:
        found["auc_kl2"] = weighted_auc(kl >= OSTEOARTHRITIS, p[:, OSTEOARTHRITIS:].sum(1), weights, group)
    return _chosen(found, metrics)


def metrics_of_counts(counts: np.ndarray, metrics: str | Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(M,)`` from confusion counts ``(M, 5, 5)``, reader by model; omitted, all metrics.

    AUC, ``ece`` and flips do not follow from counts: `KoaError`.
    """
    counts = np.asarray(counts, float)
    knees, right = counts.sum((1, 2)), np.diagonal(counts, axis1=1, axis2=2)
    support, given = counts.sum(2), counts.sum(1)
    distance = abs(np.subtract.outer(GRADES, GRADES))
    by_chance = np.einsum("mi,mj,ij->m", support, given, distance**2) / knees
    recall, precision, f1 = _ratio(right, support), _ratio(right, given), _ratio(2 * right, support + given)
    found = {
        "accuracy": right.sum(1) / knees,
        "balanced_accuracy": _mean_over_known(recall),
        "qwk": 1 - _ratio((counts * distance**2).sum((1, 2)), by_chance),
        "mae": (counts * distance).sum((1, 2)) / knees,
        "macro_f1": _mean_over_known(f1),
    }
    for name, values in zip(PER_GRADE, (recall, precision, f1), strict=True):
        found |= {f"kl{grade}_{name}": values[:, grade] for grade in GRADES}
    return found if metrics is None else _chosen(found, metrics)


def _chosen(found: dict[str, np.ndarray], metrics: str | Sequence[str]) -> dict[str, np.ndarray]:
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if unknown := [name for name in metrics if name not in found]:
        what = f"There is no metric {unknown[0]!r}."
        raise KoaError(what, where="metrics", remedy=f"Choose from {', '.join(found)}.")
    return {name: found[name] for name in metrics}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean_over_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(1) / known.sum(1)


def weighted_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Area under the ROC curve under each weighting, ties counted half, ``(M,)``; nan where one class is absent."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    areas = []
    for block in range(0, len(weights), BLOCK):
        knees = weights[block : block + BLOCK][:, group[order]]
        up = np.add.reduceat(knees * positive[order], starts, axis=1)
        down = np.add.reduceat(knees * ~positive[order], starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        areas.append(_ratio((up * below).sum(1), up.sum(1) * down.sum(1)))
    return np.concatenate(areas)


def confidence_bin(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number of the equal-width bin each confidence falls in, 0 to ``bins - 1``; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def count_grades(kl: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Confusion counts int64 ``(5, 5)`` of the reader's grades (rows) and the model's (columns), ``(N,)`` each."""
    return np.bincount(kl * K + pred, minlength=K * K).reshape(K, K)


@checked
def confusion(predictions: pd.DataFrame, grades: Sequence[int] = GRADES) -> pd.DataFrame:
    """Number of knees by the reader's grade (rows ``kl``) and the model's (columns ``pred``).

    With fewer than all five `grades`, only their rows; a last column, "other", counts the rest of each row.
    """
    counts = count_grades(grade_column(predictions, "kl"), grade_column(predictions, "pred"))
    table = pd.DataFrame(counts, index=pd.Index(GRADES, name="kl"), columns=pd.Index(GRADES, name="pred"))
    chosen = table.loc[list(grades), list(grades)]
    return chosen if set(grades) == set(GRADES) else chosen.assign(other=table.sum(axis=1) - chosen.sum(axis=1))


@checked
def per_grade(predictions: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, F1 and support (knees) of each grade; index ``kl`` 0 to 4, column ``grade`` its name.

    Recall is nan for a grade no knee has, precision for a grade no knee was given, F1 where both hold.
    """
    counts = confusion(predictions)
    found = metrics_of_counts(counts.to_numpy()[None])
    shares = {name: [found[f"kl{grade}_{name}"][0] for grade in GRADES] for name in ("precision", "recall", "f1")}
    return pd.DataFrame(
        {"grade": list(map(grade_label, GRADES))} | shares | {"support": counts.sum(axis=1)}, counts.index
    )
