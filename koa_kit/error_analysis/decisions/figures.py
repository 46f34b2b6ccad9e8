"""Figures of a decision: what KL1 costs, and how often sets hold the grade."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koa_kit.error_analysis.figures import SHARES, axes_of, share_bars
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER


def decision_figure(
    curve: pd.DataFrame, point: Mapping[str, float], start: Mapping[str, float], *, ax: Axes | None = None
) -> Axes:
    """Axes with KL1 recall against accuracy along the KL1 bias: the present point filled, the undisturbed one a ring.

    The curve is that of `kl1_curve`, the points those of `kl1_point` for the present rule and for ``DecisionRule()``.
    Upwards the bias rises. The ring lies off the curve where the two decisions differ in more than their bias.
    `KoaError` if no knee is KL1.
    """
    if curve["kl1_recall"].isna().all():
        raise KoaError("No knee is KL1, so none can be found.", remedy="Take predictions that hold KL1 knees.")
    ax = axes_of(ax, 7.6, 4.2)
    ax.plot(curve["accuracy"], curve["kl1_recall"], color=GRADE_COLOURS[1], linewidth=2, zorder=2)
    ring: dict = {"s": 190, "facecolor": "none", "edgecolor": INK, "linewidth": 1.8, "zorder": 3}
    dot: dict = {"s": 70, "color": ACCENT, "edgecolor": PAPER, "linewidth": 1, "zorder": 4}
    for at, name, look in ((start, "undisturbed", ring), (point, "as it is now", dot)):
        numbers = f"accuracy {at['accuracy']:.1%}\nKL1 recall {at['kl1_recall']:.1%}\nKL1 bias {at['kl1_bias']:+.2f}"
        ax.scatter(at["accuracy"], at["kl1_recall"], label=f"{name}\n{numbers}", **look)
    # the legend stands outside the axes: wherever the two points lie, nothing covers their numbers
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=10, labelspacing=1.4, handletextpad=0.6)
    found, right = (100 * (point[name] - start[name]) for name in ("kl1_recall", "accuracy"))
    ax.set_title(f"KL1 recall {found:+.1f} points, accuracy {right:+.1f} points".replace("-", "−"), pad=10)
    ax.grid(color=FAINT, linewidth=0.6)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_yticks(SHARES, [f"{share:.0%}" for share in SHARES])
    ax.set(xlabel="accuracy over all grades", ylabel="KL1 recall", ylim=(-0.04, 1.04))
    return ax


def conformal_figure(table: pd.DataFrame) -> Figure:
    """Figure of `conformal_table`: the share of sets that hold the reader's grade, and their mean size."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.6, 3.9), layout="constrained")
    promised, colours = table["promised"].iloc[0], (*GRADE_COLOURS, INK)
    share_bars(left, table[["coverage", "low", "high"]].to_numpy(), colours, promised=promised)
    left.set_ylabel("share of sets with the reader's grade")
    left.set_title(f"Promised {promised:.0%} over all knees (dashed)")
    bars = right.bar(range(len(table)), table["size"], width=0.62, color=colours)
    right.bar_label(bars, ["" if np.isnan(size) else f"{size:.2f}" for size in table["size"]], padding=3, fontsize=10)
    right.set(ylim=(0, 5.5), ylabel="grades in a set, mean", yticks=range(6))
    right.set_title(f"{table['single'].iloc[-1]:.0%} of all sets are a single grade")
    for axes in (left, right):
        names = [f"{name}\n{knees:,}" for name, knees in table["knees"].items()]
        axes.set_xticks(range(len(table)), names, fontsize=10)
        axes.tick_params(axis="x", length=0)
    figure.supxlabel("graded by the reader, and knees judged", fontsize=10)
    return figure
