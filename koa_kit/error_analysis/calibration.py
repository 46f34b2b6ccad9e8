"""Does 70 % mean 7 in 10? Reliability, and one temperature to put it right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import BINS, confidence_bin
from koa_kit.error_analysis.predictions import VIEWS, checked, grade_column, probabilities, similarities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES


@checked
def reliability(predictions: pd.DataFrame, *, bins: int = BINS) -> pd.DataFrame:
    """One row per confidence bin: ``low``, ``high``, ``knees``, mean ``confidence``, ``accuracy`` and ``gap``.

    Confidence is the top probability; ``gap`` is confidence minus accuracy, above 0 for a model too sure of itself.
    Bins without a knee stay in the table with nan. The mean absolute gap, each bin weighted by its knees, is the
    expected calibration error (Naeini et al. 2015, Guo et al. 2017). It depends on the number of bins and is biased
    upwards on few knees: compare models on the same knees only.
    """
    if bins < 1:
        raise KoaError(f"{bins} bins hold no knee.", where="bins", remedy="Give 1 or more; 15 is usual.")
    confidence = probabilities(predictions).max(1)
    right = (grade_column(predictions, "pred") == grade_column(predictions, "kl")).astype(float)
    knees = pd.DataFrame({"confidence": confidence, "accuracy": right}).groupby(confidence_bin(confidence, bins))
    edges, size = np.arange(bins + 1) / bins, knees.size().reindex(range(bins), fill_value=0)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "knees": size}).join(knees.mean())
    return table.assign(gap=table["confidence"] - table["accuracy"])


@checked
def temperature(predictions: pd.DataFrame) -> float:
    """Temperature, 0.05 to 20, that makes these knees' grades most likely under softmax(s / T) (Guo et al. 2017).

    Above 1 the model was too sure of itself. Fit it on knees other than those it is reported on.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    s = similarities(predictions)
    own = s[np.arange(len(s)), grade_column(predictions, "kl")]

    def surprise(log_t: float) -> float:
        return float((logsumexp(s / np.exp(log_t), axis=1) - own / np.exp(log_t)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def calibrated(predictions: pd.DataFrame, t: float) -> pd.DataFrame:
    """Predictions with similarities divided by temperature `t`, above 0, and their softmax; no grade changes."""
    from scipy.special import softmax

    if not (np.isfinite(t) and t > 0):
        raise KoaError(f"A temperature is a number above 0, not {t!r}.", where="t", remedy="Use temperature().")
    result = predictions.copy()
    for view in VIEWS:
        s = similarities(predictions, view) / t
        for letter, values in (("s", s), ("p", softmax(s, axis=1))):
            result[[f"{letter}{grade}{view}" for grade in GRADES]] = values
    return result
