"""Which grades hold when a knee lies a little otherwise? From answers to several augmented views of each knee."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from koa_kit.error_analysis.figures import share_bars
from koa_kit.error_analysis.predictions import checked, grade_column, margin
from koa_kit.error_analysis.statistics.shares import share_with_interval
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS

MARGIN_BINS = 5


@checked
def prediction_robustness(predictions: pd.DataFrame, answers: np.ndarray) -> pd.DataFrame:
    """Table, one row per knee: ``knee_id``, ``patient``, ``kl``, ``margin``, ``given`` grades, ``keeps``, ``spread``.

    `answers` are probabilities ``(N, views, 5)`` of each knee's augmented views, row for row; see `augmented_answers`.
    ``given`` is the number of different grades among the knee as it is and its views, ``keeps`` that there is only one,
    ``spread`` the standard deviation (n - 1) of the expected grade over the views, in grades.
    """
    answers = np.asarray(answers, float)
    if answers.ndim != 3 or answers.shape[::2] != (len(predictions), len(GRADES)) or answers.shape[1] < 2:
        what = f"Answers of shape {answers.shape} do not fit {len(predictions)} knees."
        remedy = "Give probabilities (N, views, 5) of two views or more, row for row with the predictions."
        raise KoaError(what, where="answers", remedy=remedy)
    grades = np.column_stack([grade_column(predictions, "pred"), answers.argmax(-1)])
    given = (np.diff(np.sort(grades, 1), axis=1) > 0).sum(1) + 1
    spread = (answers @ np.array(GRADES)).std(1, ddof=1)
    table = predictions[["knee_id", "patient", "kl"]].reset_index(drop=True)
    return table.assign(margin=margin(predictions), given=given, keeps=given == 1, spread=spread)


def robustness_figure(table: pd.DataFrame, *, seed: int = 0) -> Figure:
    """Figure of `prediction_robustness`: the share of knees that keep one grade, by reader's grade and margin."""

    def share(knees: pd.DataFrame) -> tuple[float, float, float]:
        return share_with_interval(knees["keeps"], knees["patient"], seed=seed)

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
    share_bars(left, [share(table[table["kl"] == grade]) for grade in GRADES], GRADE_COLOURS)
    left.set_xticks(GRADES, [grade_label(grade).replace(" ", "\n") for grade in GRADES], fontsize=10)
    left.set(ylabel="share that keeps its grade", title="Which grades hold")
    bins = table.groupby(pd.qcut(table["margin"], MARGIN_BINS, duplicates="drop"), observed=True)
    at = bins["margin"].median()
    value, low, high = np.array([share(knees) for _, knees in bins]).T
    for edges in at.index:
        right.axvline(edges.right, color=FAINT, linewidth=0.8, zorder=0)
    right.vlines(at, low, high, color=ACCENT, linewidth=2)
    right.plot(at, value, "o-", color=ACCENT, markersize=7, linewidth=1)
    right.set(xlabel="margin of the winning prompt over the next", xlim=(0, np.percentile(table["margin"], 98)))
    right.set_title("How close calls and clear ones hold")
    return figure
