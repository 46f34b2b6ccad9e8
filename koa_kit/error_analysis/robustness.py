"""Which answers hold when a knee lies a little otherwise? From answers to several augmented views of each knee."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import check_predictions, margin
from koa_kit.error_analysis.statistics.intervals import drawn_counts
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN_BINS = 5


def steadiness(predictions: pd.DataFrame, answers: np.ndarray) -> pd.DataFrame:
    """Table, one row a knee: ``knee_id``, ``patient``, ``kl``, ``margin``, ``given`` grades, ``keeps``, ``spread``.

    Parameters
    ----------
    predictions
        Predictions table.
    answers
        Probabilities ``(N, views, 5)`` of each knee's augmented views, row for row; see `augmented_answers`.

    Returns
    -------
    DataFrame
        ``given``: number of different grades among the knee as it is and its views. ``keeps``: there is one only.
        ``spread``: standard deviation (n - 1) of the expected grade over the views, in grades.

    Raises
    ------
    KoaError
        If the answers do not fit the predictions.
    """
    check_predictions(predictions)
    answers = np.asarray(answers, float)
    if answers.ndim != 3 or answers.shape[::2] != (len(predictions), len(GRADES)) or answers.shape[1] < 2:
        raise KoaError(
            f"Answers of shape {answers.shape} do not fit {len(predictions)} knees.",
            where="answers",
            remedy="Give probabilities (N, views, 5) of two views or more, row for row with the predictions.",
        )
    grades = np.column_stack([predictions["pred"].to_numpy(int), answers.argmax(-1)])
    given = (np.diff(np.sort(grades, 1), axis=1) > 0).sum(1) + 1
    spread = (answers @ np.array(GRADES)).std(1, ddof=1)
    table = predictions[["knee_id", "patient", "kl"]].reset_index(drop=True)
    return table.assign(margin=margin(predictions), given=given, keeps=given == 1, spread=spread)


def share_with_interval(
    told: np.ndarray, patient: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Share of knees that are true, and its 95 % interval by bootstrap over patients; nan of no knee."""
    if not len(told):
        return (float("nan"),) * 3
    told = np.asarray(told, bool)
    counts = drawn_counts(pd.Series(np.asarray(patient)), told.astype(int), 2, draws=draws, seed=seed)[1:]
    low, high = np.percentile(counts[:, 1] / counts.sum(1), [2.5, 97.5])
    return float(told.mean()), float(low), float(high)


def steadiness_figure(table: pd.DataFrame, *, seed: int = 0) -> Figure:
    """Figure of the share of knees that keep one grade: by the reader's grade, and by how clear the call was.

    Parameters
    ----------
    table
        From `steadiness`.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
    for grade in GRADES:
        knees = table[table["kl"] == grade]
        share, low, high = share_with_interval(knees["keeps"], knees["patient"], seed=seed)
        if np.isnan(share):
            left.text(grade, 0.02, "no such\nknee", ha="center", fontsize=9)
            continue
        left.bar(grade, share, width=0.62, color=GRADE_COLOURS[grade])
        left.plot([grade, grade], [low, high], color=INK, linewidth=1.6)
        left.text(grade, high + 0.02, f"{share:.0%}", ha="center", fontsize=10)
    left.set_xticks(GRADES, [grade_label(grade).replace(" ", "\n") for grade in GRADES], fontsize=10)
    left.set(ylim=(0, 1.12), ylabel="share that keeps its grade")
    left.set_title("Which grades hold")
    bins = pd.qcut(table["margin"], MARGIN_BINS, duplicates="drop")
    points = []
    for edges, knees in table.groupby(bins, observed=True):
        points.append((knees["margin"].median(), *share_with_interval(knees["keeps"], knees["patient"], seed=seed)))
        right.axvline(edges.right, color=FAINT, linewidth=0.8, zorder=0)
    at, share, low, high = np.array(points).T
    right.vlines(at, low, high, color=ACCENT, linewidth=2)
    right.plot(at, share, "o-", color=ACCENT, markersize=7, linewidth=1)
    right.set(xlabel="lead of the winning prompt over the next", xlim=(0, np.percentile(table["margin"], 98)))
    right.set_title("How close calls and clear ones hold")
    left.set_yticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    return figure
