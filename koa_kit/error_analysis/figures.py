"""Figures of one predictions table: where the grades go, how sure they are, and how stable under a flip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from koa_kit.error_analysis.calibration import reliability
from koa_kit.error_analysis.metrics import BINS, confusion, per_grade
from koa_kit.error_analysis.predictions import VIEWS, checked, grade_column, margin, probabilities, similarities
from koa_kit.error_analysis.statistics.intervals import metric_intervals
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER, SEQUENTIAL

SHARES = np.linspace(0, 1, 6)


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def share_bars(ax: Axes, shares: Iterable, colours: Sequence[str], *, promised: float | None = None) -> None:
    """Draw a bar per share, low and high end; nan says "no such knee", and no number covers the `promised` line."""
    for place, ((value, low, high), colour) in enumerate(zip(shares, colours, strict=True)):
        if np.isnan(value):
            ax.text(place, 0.02, "no such\nknee", ha="center", va="bottom", fontsize=9)
            continue
        ax.bar(place, value, width=0.62, color=colour)
        # a paper edge keeps the interval visible on a dark bar
        ax.plot([place, place], [low, high], color=PAPER, linewidth=4)
        ax.plot([place, place], [low, high], color=INK, linewidth=1.6)
        top = promised if promised is not None and high - 0.01 < promised < high + 0.09 else high
        ax.text(place, top + 0.02, f"{value:.0%}", ha="center", va="bottom", fontsize=10)
    if promised is not None:
        ax.axhline(promised, color=ACCENT, linewidth=1.6, linestyle="--", zorder=3)
    ax.set(ylim=(0, 1.12))
    ax.set_yticks(SHARES, [f"{share:.0%}" for share in SHARES])
    ax.tick_params(axis="x", length=0)


def confusion_figure(predictions: pd.DataFrame, *, grades: Sequence[int] = GRADES, ax: Axes | None = None) -> Axes:
    """Axes with the confusion matrix: knees in each cell, its share of the row beneath, shaded by that share.

    Fewer than five `grades`, such as ``(0, 1, 2)``, get a last column "other".
    """
    counts = confusion(predictions, grades)
    shares = counts.div(counts.sum(axis=1), axis=0)
    texts = counts.astype(str) + "\n" + shares.map("{:.0%}".format)
    ax = axes_of(ax, 1.9 + 0.82 * counts.shape[1], 1.3 + 0.72 * len(counts))
    _heatmap(ax, shares.fillna(0), texts.where(shares.notna(), "–"), vmin=0, vmax=1, cbar=False)
    for index in range(len(counts)):
        _frame(ax, index, index)
    ax.set(xlabel="graded by the model", ylabel="graded by the reader")
    accuracy = f"{(predictions['pred'] == predictions['kl']).mean():.1%} of {len(predictions):,} knees on the diagonal"
    ax.set_title("The early grades" if "other" in counts else accuracy, pad=10)
    return ax


def _heatmap(ax: Axes, shades: pd.DataFrame, texts: pd.DataFrame, **options) -> None:
    look = {"cmap": SEQUENTIAL, "linewidths": 2, "annot_kws": {"size": 10, "linespacing": 1.25}, "fmt": ""}
    sns.heatmap(shades, annot=texts.to_numpy(), ax=ax, **look, **options)
    ax.set_xticklabels([f"KL{name}" if name in GRADES else name for name in shades.columns])
    ax.set_yticklabels([grade_label(grade) for grade in shades.index], rotation=0)
    ax.tick_params(length=0)


def _frame(ax: Axes, row: int, column: int, *, edgecolor: str = INK, linewidth: float = 1.2) -> None:
    place, size = (column + 0.02, row + 0.02), 0.96
    ax.add_patch(Rectangle(place, size, size, fill=False, edgecolor=edgecolor, linewidth=linewidth))


@checked
def recall_figure(
    predictions: pd.DataFrame, *, draws: int = 2000, seed: int = 0, level: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Axes with the recall of each grade as a bar, its interval over patients as a line; absent grades say so."""
    names = [f"kl{grade}_recall" for grade in GRADES]
    table = metric_intervals(predictions, metrics=names, draws=draws, seed=seed, level=level)
    support = per_grade(predictions)["support"]
    ax = axes_of(ax, 6.4, 3.6)
    share_bars(ax, table[["value", "low", "high"]].to_numpy(), GRADE_COLOURS)
    ax.set_xticks(GRADES, [f"{grade_label(grade)}\n{support[grade]:,} knees" for grade in GRADES], fontsize=10)
    ax.set(ylabel="share found (recall)", title="How many knees of each grade are found")
    return ax


def reliability_figure(predictions: pd.DataFrame, *, bins: int = BINS, ax: Axes | None = None) -> Axes:
    """Axes with accuracy against confidence; a point's area is its bin's number of knees, the bars are the gaps."""
    table = reliability(predictions, bins=bins).dropna()
    ax = axes_of(ax, 4.6, 4.4)
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, zorder=1)
    ax.text(0.99, 0.06, "on the line: as sure as it should be", ha="right", fontsize=9)
    ax.vlines(table["confidence"], table["accuracy"], table["confidence"], color=ACCENT, linewidth=2, alpha=0.55)
    size = 12 + 260 * table["knees"] / table["knees"].max()
    ax.scatter(table["confidence"], table["accuracy"], s=size, color=GRADE_COLOURS[0], edgecolor=PAPER, zorder=3)
    ax.set(xlim=(0.15, 1.02), ylim=(-0.02, 1.04), xlabel="confidence (top probability)", ylabel="share right")
    error = np.average(table["gap"].abs(), weights=table["knees"])
    ax.set_title(f"Expected calibration error {error:.3f}")
    return ax


@checked
def similarity_figure(predictions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Axes with the mean scaled similarity of each grade's knees (rows) to each grade's prompt (columns)."""
    s = pd.DataFrame(similarities(predictions), columns=list(GRADES))
    means = s.groupby(grade_column(predictions, "kl")).mean().reindex(GRADES)
    ax = axes_of(ax, 5.9, 4.2)
    texts = means.map("{:.1f}".format).where(means.notna(), "")
    _heatmap(ax, means, texts, cbar_kws={"label": "mean scaled similarity", "shrink": 0.8})
    for row, best in means.dropna().idxmax(axis=1).items():
        _frame(ax, row, best, edgecolor=ACCENT, linewidth=2)
    ax.set(xlabel="prompt", ylabel="graded by the reader")
    ax.set_title("The framed prompt is a grade's nearest", pad=10)
    return ax


@checked
def kl1_figure(predictions: pd.DataFrame) -> Figure:
    """Figure of where the KL1 knees go: the grades they are given, and the margins by which its prompt loses.

    Margins are of scaled similarity: one of 0.7 makes the winner twice as probable.
    """
    knees = predictions[grade_column(predictions, "kl") == 1]
    s, pred = similarities(knees), grade_column(knees, "pred")
    given = np.bincount(pred, minlength=len(GRADES))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), width_ratios=(1, 1.1), layout="constrained")
    bars = left.bar(GRADES, given, width=0.66, color=GRADE_COLOURS)
    left.bar_label(bars, [f"{count / len(knees):.0%}" if len(knees) else "" for count in given], padding=3)
    left.set_xticks(GRADES, [f"KL{other}" for other in GRADES])
    left.set(xlabel="graded by the model", ylabel="knees", ylim=(0, max(1, given.max()) * 1.13))
    left.set_title(f"{len(knees):,} knees the reader called KL1")
    lead = s[np.arange(len(s)), pred] - s[:, 1]
    lost = [other for other in GRADES if other != 1 and given[other]]
    if lost:
        edges = np.linspace(0, max(1.0, np.ceil(lead.max())), 21)
        right.hist(
            [lead[pred == other] for other in lost], edges, stacked=True, edgecolor=PAPER,
            color=[GRADE_COLOURS[other] for other in lost], label=[f"given KL{other}" for other in lost],
        )  # fmt: skip
        right.legend(loc="upper right", fontsize=10)
        missed = lead[pred != 1]
        right.set_title(f"{(missed < np.log(2)).mean():.0%} of {len(missed):,} misses are close (margin < 0.7)")
    else:
        right.text(0.5, 0.5, "No KL1 knee was given another grade.", ha="center", transform=right.transAxes)
        right.set_yticks([])
    right.set(xlabel="margin of the winning prompt over KL1's", ylabel="missed knees")
    return figure


@checked
def flip_figure(predictions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Axes with the probability of the reader's grade, knee against mirror image; ringed where the grade changes."""
    rows, kl = np.arange(len(predictions)), grade_column(predictions, "kl")
    own, mirrored = (probabilities(predictions, view)[rows, kl] for view in VIEWS)
    changed = (predictions["pred"] != predictions["pred_flip"]).to_numpy(bool)
    ax = axes_of(ax, 6.9, 4.6)
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, zorder=1)
    for grade in sorted(set(kl)):
        x, y, colour = own[kl == grade], mirrored[kl == grade], GRADE_COLOURS[grade]
        ax.scatter(x, y, s=16, alpha=0.75, linewidth=0, color=colour, label=grade_label(grade))
    ring = "grade changes" if changed.any() else None
    ax.scatter(own[changed], mirrored[changed], s=34, facecolor="none", edgecolor=INK, linewidth=0.8, label=ring)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10, handletextpad=0.2)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.set(xlabel="probability of the reader's grade, knee", ylabel="the same, mirror image")
    ax.set_title(f"{changed.mean():.0%} of knees change grade when flipped")
    return ax


@checked
def similarity_scatter(predictions: pd.DataFrame, *, height: int = 460):
    """Plotly figure of all knees: expected grade across, margin of the winning prompt up, colour the reader's grade.

    The expected grade is the mean of 0 to 4 weighted by the probabilities. Hover shows the knee, its side, both grades
    and the five probabilities; the legend switches grades off. It needs no kernel, and about 80 bytes a knee.
    """
    import plotly.graph_objects as go

    p = probabilities(predictions)
    shares = [" · ".join(f"{100 * share:.0f}" for share in knee) for knee in p]
    expected = (p @ np.array(GRADES)).round(3)
    table = predictions.assign(expected=expected, margin=margin(predictions).round(3), shares=shares)
    figure = go.Figure()
    for grade, knees in table.groupby(grade_column(predictions)):
        figure.add_scatter(
            x=knees["expected"].tolist(),
            y=knees["margin"].tolist(),
            customdata=knees[["knee_id", "side", "pred", "shares"]].to_numpy().tolist(),
            mode="markers",
            name=grade_label(grade),
            marker={"size": 7, "color": GRADE_COLOURS[grade], "opacity": 0.8, "line": {"width": 0.5, "color": PAPER}},
            hovertemplate=(
                "<b>%{customdata[0]}</b> (%{customdata[1]})<br>reader KL"
                f"{grade}, model KL%{{customdata[2]}}<br>p of KL0 … KL4: %{{customdata[3]}} %<extra></extra>"
            ),
        )
    figure.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 60, "r": 10, "t": 50, "b": 55},
        title="Knees near the bottom are close calls",
        legend_title="graded by the reader",
        xaxis={"title": "expected grade", "range": [-0.1, 4.1], "dtick": 1},
        yaxis={"title": "margin of the winning prompt", "rangemode": "tozero"},
    )
    return figure
