"""Does 70 % mean 7 in 10? Reliability, expected calibration error and one temperature to put it right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, check_predictions, probabilities, similarities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

BINS = 15


def confidence_bin(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number of the equal-width bin each confidence falls in, 0 to ``bins - 1``; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def reliability(predictions: pd.DataFrame, *, bins: int = BINS) -> pd.DataFrame:
    """One row a confidence bin: ``low``, ``high``, ``knees``, mean ``confidence``, ``accuracy`` and ``gap``.

    Confidence is the top probability; ``gap`` is confidence minus accuracy, above 0 for a model too sure of itself.
    Bins without a knee stay in the table with nan.
    """
    check_predictions(predictions)
    if bins < 1:
        raise KoaError(f"{bins} bins hold no knee.", where="bins", remedy="Give 1 or more; 15 is usual.")
    confidence = probabilities(predictions).max(1)
    right = (predictions["pred"] == predictions["kl"]).to_numpy(float)
    which = confidence_bin(confidence, bins)
    knees = np.bincount(which, minlength=bins)
    mean = [
        np.divide(np.bincount(which, values, minlength=bins), knees, out=np.full(bins, np.nan), where=knees > 0)
        for values in (confidence, right)
    ]
    edges = np.arange(bins + 1) / bins
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "knees": knees,
            "confidence": mean[0],
            "accuracy": mean[1],
            "gap": mean[0] - mean[1],
        }
    )


def expected_calibration_error(predictions: pd.DataFrame, *, bins: int = BINS) -> float:
    """Mean absolute gap of `reliability`, each bin weighted by its knees, 0 to 1 (Naeini et al. 2015, Guo et al. 2017).

    It depends on the number of bins and is biased upwards on few knees: compare models on the same knees only.
    """
    table = reliability(predictions, bins=bins)
    return float((table["gap"].abs() * table["knees"]).sum() / table["knees"].sum())


def temperature(predictions: pd.DataFrame) -> float:
    """Temperature, 0.05 to 20, that makes these knees' grades most likely under softmax(s / T) (Guo et al. 2017).

    Above 1 the model was too sure of itself. Fit it on knees other than those it is reported on.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    check_predictions(predictions)
    s = similarities(predictions)
    own = s[np.arange(len(s)), predictions["kl"].to_numpy(int)]

    def surprise(log_t: float) -> float:
        scaled = s / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - own / np.exp(log_t)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def calibrated(predictions: pd.DataFrame, t: float) -> pd.DataFrame:
    """Predictions with similarities divided by temperature `t` and probabilities their softmax; no grade changes.

    Raises
    ------
    KoaError
        If `t` is not a number above 0.
    """
    check_predictions(predictions)
    if not (np.isfinite(t) and t > 0):
        raise KoaError(f"A temperature is a number above 0, not {t!r}.", where="t", remedy="Use temperature().")
    result = predictions.copy()
    for view in VIEWS:
        s = similarities(predictions, view) / t
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        for grade in GRADES:
            result[f"s{grade}{view}"], result[f"p{grade}{view}"] = s[:, grade], p[:, grade]
    return result
