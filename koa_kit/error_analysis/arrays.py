"""Grades, probabilities and logits that a user gives as arrays: checked, and in one type."""

from __future__ import annotations

import numpy as np

from koa_kit.error_analysis.predictions import TOLERANCE
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES


def checked_grades(grades: np.ndarray, knees: int, name: str = "kl") -> np.ndarray:
    """`grades` as int64 ``(knees,)``; raises `KoaError` unless they are that many whole numbers from 0 to 4."""
    grades = np.asarray(grades)
    whole = np.issubdtype(grades.dtype, np.integer) and np.isin(grades, GRADES).all()
    if grades.shape != (knees,) or not whole:
        what = f"{name} of shape {grades.shape} are not the grades of {knees} knees."
        raise KoaError(what, where=name, remedy="Give one whole number from 0 to 4 a knee, in the order of the knees.")
    return grades.astype(np.int64)


def checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """`probabilities` as float64 ``(N, 5)``, rows adding up to 1; raises `KoaError` if they are none, or of no knee."""
    p = five_columns(probabilities, "probabilities")
    if (p < -TOLERANCE).any() or (abs(p.sum(1) - 1) > TOLERANCE).any():
        raise KoaError(
            "Five probabilities of a knee do not add up to 1.", where="probabilities", remedy="Use decide()."
        )
    return p


def five_columns(values: np.ndarray, name: str) -> np.ndarray:
    """`values` as float64 ``(N, 5)``; raises `KoaError` unless they are finite and of at least one knee."""
    values = np.asarray(values, float)
    if values.ndim != 2 or values.shape[1] != len(GRADES) or not len(values) or not np.isfinite(values).all():
        what = f"{name} of shape {values.shape} are not five finite numbers for each of some knees."
        raise KoaError(what, where=name, remedy="Give an array (N, 5), for example similarities(predictions).")
    return values
