"""The model and the best that any model could do, which is known only where the readers themselves are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.error_analysis.metrics import METRIC_LABELS, compute_metrics
from koa_kit.error_analysis.predictions import checked
from koa_kit.error_analysis.statistics.intervals import metric_intervals
from koa_kit.errors import KoaError
from koa_kit.phantom.knee.features import SIGNS
from koa_kit.phantom.readers.bounds import kl1_frontier, sampled_noise_ceiling
from koa_kit.phantom.readers.readers import consensus_probabilities
from koa_kit.style import ACCENT, FAINT, INK

CEILING_METRICS = ("accuracy", "qwk", "kl1_recall")


def consensus_posterior(predictions: pd.DataFrame, cohort: Cohort | None) -> np.ndarray | None:
    """Probability of every consensus grade of the predicted knees, ``(N, 5)``; ``None`` where the readers are unknown.

    Known for phantoms, whose table holds the signs (`koa_kit.phantom`); of real knees only one grade is known.
    `KoaError` if a predicted knee is not in the cohort.
    """
    if cohort is None or not set(SIGNS) <= set(cohort.table):
        return None
    knees = cohort.table.set_index("knee_id")
    if missing := sorted(set(predictions["knee_id"]) - set(knees.index)):
        raise KoaError(f"Knee {missing[0]} is not in the cohort.", where=cohort.name, remedy="Give its own knees.")
    return consensus_probabilities(knees.loc[predictions["knee_id"], list(SIGNS)].reset_index(drop=True))


@checked
def compare_with_ceiling(predictions: pd.DataFrame, posterior: np.ndarray, *, seed: int = 0) -> pd.DataFrame:
    """Accuracy, QWK and KL1 recall of the model and of the best rule that knows every sign, one row a metric.

    The posterior is that of `consensus_posterior`. Columns: ``model`` with its 95 % interval over patients (``low``,
    ``high``), ``ceiling`` with the 95 % range in which the best rule's score on these very knees falls as the readers'
    chance has it (``ceiling_low``, ``ceiling_high``). KL1 recall is that of the rule with the best accuracy; it is no
    bound, see `koa_kit.phantom.kl1_frontier`.
    """
    if len(predictions) != len(posterior):
        raise KoaError(f"{len(posterior)} posteriors for {len(predictions)} knees.", remedy="Give one a knee.")
    ends, names = ["value", "low", "high"], list(CEILING_METRICS)
    model = metric_intervals(predictions, metrics=names, seed=seed).set_index("metric")[ends]
    best = sampled_noise_ceiling(posterior, seed=seed).set_index("metric")[ends]
    best = best.set_axis(["ceiling", "ceiling_low", "ceiling_high"], axis=1)
    return model.rename(columns={"value": "model"}).join(best).loc[names]


def ceiling_figure(predictions: pd.DataFrame, posterior: np.ndarray | None, *, seed: int = 0):
    """Figure of the model and the ceiling; where no ceiling is known, a sentence that says so.

    On the left `compare_with_ceiling`; on the right the highest accuracy at every KL1 recall, and the model: the way to
    the curve is what a better model could win, the way along it exchanges one kind of mistake for another.
    """
    import matplotlib.pyplot as plt

    if posterior is None:
        figure, ax = plt.subplots(figsize=(9, 0.8), layout="constrained")
        text = "Who read real knees, and with which errors, is not known: only of phantoms can the ceiling be computed."
        ax.text(0, 0.5, text, va="center", fontsize=11, color=INK)
        ax.set_axis_off()
        return figure
    table = compare_with_ceiling(predictions, posterior, seed=seed)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained", width_ratios=(1.15, 1))
    heights, ends = np.arange(len(table))[::-1], abs(table[["low", "high"]].T - table["model"])
    model = {"fmt": "o", "color": ACCENT, "ms": 7, "label": "model, 95 % interval"}
    left.errorbar(table["model"], heights, xerr=ends, zorder=4, **model)
    left.vlines(table["ceiling"], heights - 0.25, heights + 0.25, color=INK, zorder=2, label="ceiling")
    best = {"color": FAINT, "label": "best rule on these knees, 95 %"}
    left.barh(heights, table["ceiling_high"] - table["ceiling_low"], 0.5, table["ceiling_low"], zorder=1, **best)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, -0.42), ncols=3, frameon=False, fontsize=9)
    left.set_yticks(heights, [METRIC_LABELS.get(name, name) for name in table.index])
    left.set(xlim=(0, 1.02), ylim=(-0.5, len(table) - 0.5))
    left.set_title("The model and the best rule there is")
    frontier, found = kl1_frontier(posterior), compute_metrics(predictions)
    first = frontier.iloc[0]
    at = found["kl1_recall"], found["accuracy"]
    right.plot(frontier["kl1_recall"], frontier["accuracy"], color=INK, lw=1.6)
    # Less recall than the most accurate rule has buys nothing.
    right.plot([0, first["kl1_recall"]], [first["accuracy"]] * 2, color=INK, lw=1, ls=":")
    right.plot(*at, "o", color=ACCENT, ms=7)
    right.annotate("model", at, (7, -4), textcoords="offset points", color=ACCENT)
    look = {"textcoords": "offset points", "ha": "right", "fontsize": 9, "color": INK}
    right.annotate("best accuracy\nat each recall", (first["kl1_recall"], first["accuracy"]), (-6, 4), **look)
    right.set(xlabel="KL1 recall", ylabel="accuracy", xlim=(0, 1.02), ylim=(min(0.3, found["accuracy"] - 0.1), 1))
    right.set_title("What more KL1 recall would cost")
    return figure
