"""Metrics of a predictions table, each by scikit-learn; what cannot be told from these knees is nan, never 0."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.calibration import expected_calibration_error
from koa_kit.error_analysis.predictions import check_predictions, probabilities
from koa_kit.grades import GRADES, grade_label

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "qwk",
    "mae",
    "macro_f1",
    "auc_kl2",
    "ece",
    "flip_disagreement",
    "kl1_recall",
    "kl1_precision",
    "kl1_f1",
)
METRIC_LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "qwk": "Quadratic weighted kappa",
    "mae": "Mean absolute error (grades)",
    "macro_f1": "Macro F1",
    "auc_kl2": "AUC for KL ≥ 2",
    "ece": "Expected calibration error",
    "flip_disagreement": "Grade changes when flipped",
    **{
        f"kl{grade}_{name}": f"KL{grade} {label}"
        for grade in GRADES
        for name, label in (("recall", "recall"), ("precision", "precision"), ("f1", "F1"))
    },
}
OSTEOARTHRITIS = 2
"""KL grade from which a knee counts as definite osteoarthritis."""


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """All of `METRICS` by name.

    Each is nan where these knees cannot tell: a recall when no knee has the grade, a precision when no knee was given
    it, QWK when all knees and all predictions are one grade, AUC when all knees lie on one side of KL2. Balanced
    accuracy is the mean recall over the grades that occur; macro F1 the mean over the grades that occur or were given.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy``; ``qwk``, Cohen's kappa with quadratic weights; ``mae`` in grades;
        ``macro_f1``; ``auc_kl2``, of p2 + p3 + p4 for KL >= 2; ``ece``, 15 equal-width bins of the top probability;
        ``flip_disagreement``, share of knees whose grade changes when flipped; ``kl1_recall``, ``kl1_precision``,
        ``kl1_f1``.
    """
    from sklearn.metrics import accuracy_score, mean_absolute_error, roc_auc_score

    check_predictions(predictions)
    kl, pred = predictions["kl"].to_numpy(int), predictions["pred"].to_numpy(int)
    definite = kl >= OSTEOARTHRITIS
    grades = per_grade(predictions)
    kl1 = grades.loc[1]
    return {
        "accuracy": float(accuracy_score(kl, pred)),
        "balanced_accuracy": float(grades["recall"].mean()),
        "qwk": _qwk(kl, pred),
        "mae": float(mean_absolute_error(kl, pred)),
        "macro_f1": float(grades["f1"].mean()),
        "auc_kl2": float("nan")
        if definite.all() or not definite.any()
        else float(roc_auc_score(definite, definite_probability(predictions))),
        "ece": expected_calibration_error(predictions),
        "flip_disagreement": float((pred != predictions["pred_flip"].to_numpy(int)).mean()),
        "kl1_recall": float(kl1["recall"]),
        "kl1_precision": float(kl1["precision"]),
        "kl1_f1": float(kl1["f1"]),
    }


def _qwk(kl: np.ndarray, pred: np.ndarray) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len({*kl, *pred}) == 1:
        return float("nan")
    # all five grades named: where one is absent, distance would be counted in the grades that are left
    return float(cohen_kappa_score(kl, pred, labels=list(GRADES), weights="quadratic"))


def definite_probability(predictions: pd.DataFrame) -> np.ndarray:
    """Probability of definite osteoarthritis, p2 + p3 + p4, float64 ``(N,)``."""
    return probabilities(predictions)[:, OSTEOARTHRITIS:].sum(1)


def per_grade(predictions: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, F1 and support (knees) of each grade; index ``kl`` 0 to 4, column ``grade`` its name.

    Recall is nan for a grade no knee has, precision for a grade no knee was given, F1 where both hold.
    """
    from sklearn.metrics import precision_recall_fscore_support

    check_predictions(predictions)
    precision, recall, f1, support = precision_recall_fscore_support(
        predictions["kl"].to_numpy(int), predictions["pred"].to_numpy(int), labels=list(GRADES), zero_division=np.nan
    )
    return pd.DataFrame(
        {
            "grade": [grade_label(grade) for grade in GRADES],
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "support": support,
        },
        index=pd.Index(GRADES, name="kl"),
    )


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Number of knees by the reader's grade (rows ``kl``) and the model's (columns ``pred``), always 5 x 5."""
    from sklearn.metrics import confusion_matrix

    check_predictions(predictions)
    counts = confusion_matrix(predictions["kl"].to_numpy(int), predictions["pred"].to_numpy(int), labels=list(GRADES))
    return pd.DataFrame(counts, index=pd.Index(GRADES, name="kl"), columns=pd.Index(GRADES, name="pred"))


def sub_confusion(predictions: pd.DataFrame, grades: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    """`confusion` of the knees a reader gave one of `grades`; the last column, "other", counts the rest of each row."""
    counts = confusion(predictions).loc[list(grades)]
    return counts[list(grades)].assign(other=counts.drop(columns=list(grades)).sum(axis=1))
