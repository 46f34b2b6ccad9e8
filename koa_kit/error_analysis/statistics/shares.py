"""Counts and shares of knees under a bootstrap over patients, fast enough for a slider."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.statistics.intervals import percentile_interval


def drawn_counts(patient: pd.Series, cell: np.ndarray, cells: int, *, draws: int, seed: int = 0) -> np.ndarray:
    """Number of knees in each cell, float64 ``(1 + draws, cells)``: of all knees, then of each draw of patients.

    Patients whose knees fill the same cells cannot be told apart in the counts, so how often each kind of patient is
    drawn is multinomial. That is the bootstrap over patients exactly, at the price of some hundred kinds instead of
    many thousand patients; the order of rows does not matter. `patient` and `cell` are those of each of at least one
    knee, cells whole numbers from 0 to `cells` - 1.
    """
    row, names = pd.factorize(patient)
    held = np.bincount(row * cells + cell, minlength=len(names) * cells).reshape(len(names), cells)
    # rows as opaque bytes sort ten times faster than rows of numbers
    held = np.ascontiguousarray(held, np.min_scalar_type(held.max()))
    kinds, alike = np.unique(held.view((np.void, held.itemsize * cells)).ravel(), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), alike / len(names), size=draws)
    return np.vstack([alike, drawn]).astype(float) @ kinds.view(held.dtype).reshape(-1, cells)


def share_with_interval(
    holds: np.ndarray, patient: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Share of knees for which something holds, and its 95 % interval over patients; nan of no knee."""
    if not len(holds):
        return (float("nan"),) * 3
    holds = np.asarray(holds, bool)
    counts = drawn_counts(pd.Series(np.asarray(patient)), holds.astype(int), 2, draws=draws, seed=seed)[1:]
    return float(holds.mean()), *percentile_interval(holds.mean(), counts[:, 1] / counts.sum(1), 0.95)[:2]
