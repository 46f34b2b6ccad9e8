"""The numbers of the workbench's confusion matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, probabilities, similarities


class Numbers(NamedTuple):
    """The numbers of a predictions table as arrays, which are ten times quicker to take rows from.

    Attributes
    ----------
    kl, pred, pred_flip
        Grades, int64 ``(N,)``.
    s, p
        Similarities and probabilities, float64 ``(2, N, 5)``: of each knee and of its mirror image.
    """

    kl: np.ndarray
    pred: np.ndarray
    pred_flip: np.ndarray
    s: np.ndarray
    p: np.ndarray


def numbers_of(table: pd.DataFrame) -> Numbers:
    """`Numbers` of a predictions table."""
    grades = (table[name].to_numpy(np.int64) for name in ("kl", "pred", "pred_flip"))
    s, p = (np.stack([values(table, view) for view in VIEWS]) for values in (similarities, probabilities))
    return Numbers(*grades, s, p)
