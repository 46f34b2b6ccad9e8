"""Which knees deserve a second look? Grades the model doubts, and knees it cannot make up its mind about.

Confident learning (Northcutt, Jiang and Chuang 2021, Journal of Artificial Intelligence Research 70, arXiv 1911.00068)
compares each knee's probabilities with what is usual for a grade. Three things are assumed:

- The probabilities are out of sample: the model was not trained on the knees it is asked about. One that was trained on
  them repeats their grades, right or wrong, and suspects none.
- Whether a grade is wrong depends on the grades alone, not on the picture. KL readings break this: readers differ over
  borderline knees, nearly always by one step, so a suspect one step away is more often a borderline knee than a slip.
- The model is right more often than not within each grade. Where it is weak, as at KL1, its suspects are weak too.

The ranking says which knees are worth a second look. It proves nothing about any of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, checked, grade_column, probabilities
from koa_kit.grades import GRADES

ROUNDING = 1e-6  # below its threshold a probability still reaches it: the mean of equal float32 may round upwards


@checked
def find_label_issues(predictions: pd.DataFrame) -> pd.DataFrame:
    """All knees, the most probable label errors first, with the grade the model proposes instead.

    The knees must not be those the model was trained on; predictions that are `flip_averaged` are steadier.

    Returns
    -------
    DataFrame
        ``knee_id``, ``patient``, ``side``, ``kl`` and

        - ``proposed``: for a suspect, the most probable of the grades that reach their threshold; for any other knee
          the most probable grade other than the given one;
        - ``self_confidence``: probability of the given grade, 0 to 1;
        - ``lead``: probability of the proposed minus that of the given grade, -1 to 1;
        - ``suspect``: whether a grade other than the given one is the most probable that reaches its threshold
          (equation 1 of the paper). A knee below the threshold of its own grade may be one even with a negative lead;
        - ``steps``: grades between the given and the proposed one, 1 to 4; suspects of two and more are rare.

        Suspects come first, then the others, each by falling lead; knees that tie keep the order of `predictions`.
    """
    p, kl = probabilities(predictions), grade_column(predictions)
    rows, latent = np.arange(len(kl)), _latent(p, kl)
    suspect = (latent >= 0) & (latent != kl)
    others = np.where(np.arange(len(GRADES)) == kl[:, None], -np.inf, p)
    proposed = np.where(suspect, latent, others.argmax(1))
    lead = p[rows, proposed] - p[rows, kl]
    table = predictions[["knee_id", "patient", "side", "kl"]].assign(
        proposed=proposed, self_confidence=p[rows, kl], lead=lead, suspect=suspect, steps=abs(kl - proposed)
    )
    return table.sort_values(["suspect", "lead"], ascending=False, kind="stable", ignore_index=True)


@checked
def unstable(predictions: pd.DataFrame) -> pd.DataFrame:
    """All knees, those first whose answer changes most when the knee is mirrored; ties keep the order of the table.

    Columns ``knee_id``, ``patient``, ``side``, ``kl``, ``pred``, ``pred_flip`` and ``flip_change``, the total variation
    between the probabilities of the knee and of its mirror image, 0 to 1.
    """
    p, p_flip = (probabilities(predictions, view) for view in VIEWS)
    table = predictions[["knee_id", "patient", "side", "kl", "pred", "pred_flip"]]
    table = table.assign(flip_change=abs(p - p_flip).sum(1) / 2)
    return table.sort_values("flip_change", ascending=False, kind="stable", ignore_index=True)


def _latent(p: np.ndarray, kl: np.ndarray) -> np.ndarray:
    """Grade each knee is counted under (equation 1): the most probable of those that reach their threshold, else -1.

    The threshold of a grade is its mean probability among the knees given it (equation 2); one never given has none.
    """
    knees = np.bincount(kl, minlength=len(GRADES))
    sure = np.bincount(kl, weights=p[np.arange(len(kl)), kl], minlength=len(GRADES))
    limits = np.divide(sure, knees, out=np.full(len(GRADES), np.inf), where=knees > 0)
    reached = np.where(p >= limits - ROUNDING, p, -np.inf)
    return np.where(np.isfinite(reached).any(1), reached.argmax(1), -1)
