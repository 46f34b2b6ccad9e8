"""Percentile intervals by bootstrap over patients: both knees of a patient are drawn together or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import METRICS, weighted_metrics
from koa_kit.error_analysis.predictions import checked
from koa_kit.errors import KoaError


@checked
def metric_intervals(
    predictions: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRICS,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row per metric: ``metric``, ``value``, ``low``, ``high``, ``n_knees``, ``n_patients``, ``draws``.

    ``draws`` counts those that could tell the metric: one that happened to draw no KL4 knee says nothing about KL4 and
    is left out. A metric that is nan has a nan interval.

    Parameters
    ----------
    metrics
        Names out of `METRICS`, or ``kl0_recall`` … ``kl4_f1``; another name raises `KoaError`.
    draws, seed
        Bootstrap draws over patients: the same for the same seed and patients.
    level
        Share of the draws inside the interval.
    """
    check_level(draws, level)
    size = {"n_knees": len(predictions), "n_patients": predictions["patient"].nunique()}
    rows = []
    for name, values in bootstrap(predictions, metrics, draws=draws, seed=seed).items():
        low, high, known = percentile_interval(values[0], values[1:], level)
        rows.append({"metric": name, "value": values[0], "low": low, "high": high} | size | {"draws": known})
    return pd.DataFrame(rows)


def bootstrap(
    predictions: pd.DataFrame, metrics: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(1 + draws,)``: the value on all knees, then on each draw of patients, nan if unknown.

    Two tables of the same patients get the same draws for the same seed, whatever the order of their rows.
    """
    names, patient = np.unique(predictions["patient"].to_numpy().astype(str), return_inverse=True)
    # a draw is a row of weights, so all draws are scored at once and nothing is approximated
    weights = np.vstack([np.ones(len(names)), draw_patients(len(names), draws, seed)])
    return weighted_metrics(predictions, weights, patient, metrics)


def draw_patients(patients: int, draws: int, seed: int) -> np.ndarray:
    """How often each patient is drawn, float64 ``(draws, patients)``, each row adding up to `patients`."""
    drawn = np.random.default_rng(seed).integers(patients, size=(draws, patients))
    drawn += np.arange(draws)[:, None] * patients
    return np.bincount(drawn.ravel(), minlength=draws * patients).reshape(draws, patients).astype(float)


def check_level(draws: int, level: float) -> None:
    """Nothing; `KoaError` if `draws` or `level` make no interval."""
    if draws < 1:
        raise KoaError(f"{draws} draws give no interval.", where="draws", remedy="2000 is usual.")
    if not 0 < level < 1:
        raise KoaError(f"A level of {level!r} is no share.", where="level", remedy="Give for example 0.95.")


def percentile_interval(value: float, samples: np.ndarray, level: float) -> tuple[float, float, int]:
    """Low and high end of the percentile interval, and the number of samples that are not nan."""
    known = samples[~np.isnan(samples)]
    if np.isnan(value) or not len(known):
        return float("nan"), float("nan"), len(known)
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high), len(known)
