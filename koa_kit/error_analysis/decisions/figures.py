"""Figures of a decision: what KL1 costs, what leaving knees to a reader buys, and how often sets hold the grade."""

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

FEW = 0.05  # share of knees beneath which a curve of the surest says more of chance than of the model


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
    ring = {"s": 190, "facecolor": "none", "edgecolor": INK, "linewidth": 1.8, "zorder": 3}
    dot = {"s": 70, "color": ACCENT, "edgecolor": PAPER, "linewidth": 1, "zorder": 4}
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


def reject_figure(curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Axes with accuracy and QWK of the knees answered, against their share; beneath it their least confidence.

    The curve is that of `reject_curve`, from where 5 % are answered: those of fewer jump. Dotted: of all knees.
    """
    ax = axes_of(ax, 7.2, 4.2)
    shown, everything = curve[curve["kept"] >= FEW], curve.iloc[-1]
    for column, name, colour in (("accuracy", "accuracy", GRADE_COLOURS[0]), ("qwk", "QWK", GRADE_COLOURS[3])):
        marker = "o" if len(shown) == 1 else None
        ax.plot(shown["kept"], shown[column], color=colour, linewidth=2, marker=marker, label=name)
        ax.axhline(everything[column], color=colour, linewidth=1, linestyle=":", zorder=1)
    shares = [FEW, *SHARES[1:]]
    confidence = np.interp(shares, curve["kept"], curve["threshold"])
    ax.set_xticks(shares, [f"{share:.0%}\n{least:.2f}" for share, least in zip(shares, confidence, strict=True)])
    ax.grid(color=FAINT, linewidth=0.6)
    ax.set(xlim=(FEW, 1.02), ylabel="of the knees answered")
    ax.set_xlabel("knees answered, surest first; beneath, the least probability among them")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=10)
    half = curve.iloc[(curve["kept"] - 0.5).abs().argmin()]
    title = f"The surest {half['kept']:.0%}: {half['accuracy']:.1%} right; all knees: {everything['accuracy']:.1%}"
    ax.set_title(title, pad=10)
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
