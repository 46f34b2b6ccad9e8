"""The pictures of record: where the grades go, how sure, how stable under a flip, and which method is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.error_analysis.calibration import expected_calibration_error, reliability
from koa_kit.error_analysis.metrics import METRIC_LABELS, confusion, per_grade, sub_confusion
from koa_kit.error_analysis.predictions import check_predictions, probabilities, similarities
from koa_kit.error_analysis.statistics.intervals import intervals
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def confusion_figure(
    predictions: pd.DataFrame, *, grades: Sequence[int] = GRADES, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Axes with the confusion matrix: knees in each cell, its share of the row beneath, shaded by that share.

    Parameters
    ----------
    grades
        Rows and columns; fewer than five, such as ``(0, 1, 2)``, get a last column "other".
    title
        Omitted, the accuracy.
    """
    import seaborn as sns

    grades = list(grades)
    counts = confusion(predictions) if grades == list(GRADES) else sub_confusion(predictions, tuple(grades))
    cells, support = counts.to_numpy(), counts.to_numpy().sum(1, keepdims=True)
    shares = cells / np.maximum(support, 1)
    texts = [
        [f"{count}\n{share:.0%}" if total else "–" for count, share in zip(row, row_shares, strict=True)]
        for row, row_shares, total in zip(cells, shares, support[:, 0], strict=True)
    ]
    ax = axes_of(ax, 1.9 + 0.82 * counts.shape[1], 1.3 + 0.72 * len(counts))
    sns.heatmap(
        shares, annot=np.array(texts), fmt="", cmap=SEQUENTIAL, vmin=0, vmax=1, cbar=False, linewidths=2, square=False,
        annot_kws={"size": 10, "linespacing": 1.25}, ax=ax,
    )  # fmt: skip
    for index in range(len(counts)):
        ax.add_patch(_frame(index))
    ax.set_xticklabels([f"KL{name}" if name in GRADES else name for name in counts.columns])
    ax.set_yticklabels([grade_label(grade) for grade in counts.index], rotation=0)
    ax.tick_params(length=0)
    ax.set(xlabel="graded by the model", ylabel="graded by the reader")
    accuracy = (predictions["pred"] == predictions["kl"]).mean()
    default = f"{accuracy:.1%} of {len(predictions):,} knees on the diagonal"
    ax.set_title(title or (default if grades == list(GRADES) else "The early grades"), pad=10)
    return ax


def _frame(index: int):
    from matplotlib.patches import Rectangle

    return Rectangle((index + 0.02, index + 0.02), 0.96, 0.96, fill=False, edgecolor=INK, linewidth=1.2)


def recall_figure(
    predictions: pd.DataFrame, *, draws: int = 2000, seed: int = 0, level: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Axes with the recall of each grade as a bar, its interval over patients as a line; absent grades say so."""
    table = intervals(
        predictions, metrics=[f"kl{grade}_recall" for grade in GRADES], draws=draws, seed=seed, level=level
    )
    support = per_grade(predictions)["support"]
    ax = axes_of(ax, 6.4, 3.6)
    for grade, row in zip(GRADES, table.itertuples(), strict=True):
        if np.isnan(row.value):
            ax.text(grade, 0.02, "no such\nknee", ha="center", va="bottom", fontsize=10)
            continue
        ax.bar(grade, row.value, width=0.62, color=GRADE_COLOURS[grade])
        ax.plot([grade, grade], [row.low, row.high], color=INK, linewidth=1.6)
        ax.text(grade, row.high + 0.02, f"{row.value:.0%}", ha="center", va="bottom", fontsize=10.5)
    ax.set_xticks(GRADES, [f"{grade_label(grade)}\n{support[grade]:,} knees" for grade in GRADES], fontsize=10)
    ax.set(ylim=(0, 1.12), ylabel="share found (recall)", title="How many knees of each grade are found")
    ax.set_yticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    ax.tick_params(axis="x", length=0)
    return ax


def reliability_figure(predictions: pd.DataFrame, *, bins: int = 15, ax: Axes | None = None) -> Axes:
    """Axes with accuracy against confidence; a point's area is its bin's number of knees, the bars are the gaps."""
    table = reliability(predictions, bins=bins).dropna()
    ax = axes_of(ax, 4.6, 4.4)
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, zorder=1)
    ax.text(0.99, 0.06, "on the line: as sure as it should be", ha="right", fontsize=9)
    ax.vlines(table["confidence"], table["accuracy"], table["confidence"], color=ACCENT, linewidth=2, alpha=0.55)
    size = 12 + 260 * table["knees"] / table["knees"].max()
    ax.scatter(table["confidence"], table["accuracy"], s=size, color=GRADE_COLOURS[0], edgecolor=PAPER, zorder=3)
    ax.set(xlim=(0.15, 1.02), ylim=(-0.02, 1.04), xlabel="confidence (top probability)", ylabel="share right")
    error = expected_calibration_error(predictions, bins=bins)
    ax.set_title(f"Expected calibration error {error:.3f}")
    return ax


def similarity_figure(predictions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Axes with the mean scaled similarity of each grade's knees (rows) to each grade's prompt (columns)."""
    import seaborn as sns

    check_predictions(predictions)
    s, kl = similarities(predictions), predictions["kl"].to_numpy(int)
    means = np.array([s[kl == grade].mean(0) if (kl == grade).any() else np.full(5, np.nan) for grade in GRADES])
    ax = axes_of(ax, 5.9, 4.2)
    sns.heatmap(
        means, annot=True, fmt=".1f", cmap=SEQUENTIAL, linewidths=2, annot_kws={"size": 10.5},
        cbar_kws={"label": "mean scaled similarity", "shrink": 0.8}, ax=ax,
    )  # fmt: skip
    for row in np.flatnonzero(~np.isnan(means).any(1)):
        best = int(means[row].argmax())
        ax.add_patch(_frame(0)).set(xy=(best + 0.02, row + 0.02), edgecolor=ACCENT, linewidth=2)
    ax.set_xticklabels([f"KL{grade}" for grade in GRADES])
    ax.set_yticklabels([grade_label(grade) for grade in GRADES], rotation=0)
    ax.tick_params(length=0)
    ax.set(xlabel="prompt", ylabel="graded by the reader")
    ax.set_title("The framed prompt is a grade's nearest", pad=10)
    return ax


def kl1_figure(predictions: pd.DataFrame, *, grade: int = 1) -> Figure:
    """Figure of where the knees of one grade go: the grades they are given, and by how much its prompt loses.

    The right-hand side counts, for the knees given another grade, the lead of the winning prompt over the prompt of
    `grade`, in scaled similarity: a lead of 0.7 makes the winner twice as probable.
    """
    import matplotlib.pyplot as plt

    check_predictions(predictions)
    if grade not in GRADES:
        raise KoaError(f"There is no grade {grade!r}.", remedy="Grades are 0 to 4.")
    knees = predictions[predictions["kl"] == grade]
    given = knees["pred"].value_counts().reindex(GRADES, fill_value=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), width_ratios=(1, 1.1), layout="constrained")
    left.bar(GRADES, given, width=0.66, color=GRADE_COLOURS)
    for other in GRADES:
        share = f"{given[other] / len(knees):.0%}" if len(knees) else ""
        left.annotate(share, (other, given[other]), (0, 3), textcoords="offset points", ha="center", fontsize=10.5)
    left.set_xticks(GRADES, [f"KL{other}" for other in GRADES])
    left.set(xlabel="graded by the model", ylabel="knees", ylim=(0, max(1, given.max()) * 1.13))
    left.set_title(f"{len(knees):,} knees the reader called KL{grade}")
    s, pred = similarities(knees), knees["pred"].to_numpy(int)
    lead = s[np.arange(len(s)), pred] - s[:, grade]
    lost = [other for other in GRADES if other != grade and given[other]]
    if lost:
        edges = np.linspace(0, max(1.0, np.ceil(lead.max())), 21)
        right.hist(
            [lead[pred == other] for other in lost], edges, stacked=True, edgecolor=PAPER,
            color=[GRADE_COLOURS[other] for other in lost], label=[f"given KL{other}" for other in lost],
        )  # fmt: skip
        right.legend(loc="upper right", fontsize=10)
        missed = lead[pred != grade]
        right.set_title(f"{(missed < np.log(2)).mean():.0%} of {len(missed):,} misses are close (lead < 0.7)")
    else:
        right.text(0.5, 0.5, f"No KL{grade} knee was given another grade.", ha="center", transform=right.transAxes)
        right.set_yticks([])
    right.set(xlabel=f"lead of the winning prompt over KL{grade}'s", ylabel="missed knees")
    return figure


def flip_figure(predictions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Axes with the probability of the reader's grade, knee against mirror image; ringed where the grade changes."""
    check_predictions(predictions)
    rows, kl = np.arange(len(predictions)), predictions["kl"].to_numpy(int)
    own, mirrored = (probabilities(predictions, view)[rows, kl] for view in ("", "_flip"))
    changed = (predictions["pred"] != predictions["pred_flip"]).to_numpy(bool)
    ax = axes_of(ax, 6.9, 4.6)
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, zorder=1)
    for grade in GRADES:
        of_grade = kl == grade
        label = grade_label(grade) if of_grade.any() else None
        ax.scatter(
            own[of_grade], mirrored[of_grade], s=16, color=GRADE_COLOURS[grade], alpha=0.75, linewidth=0, label=label
        )
    ring = "grade changes" if changed.any() else None
    ax.scatter(own[changed], mirrored[changed], s=34, facecolor="none", edgecolor=INK, linewidth=0.8, label=ring)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10, handletextpad=0.2)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.set(xlabel="probability of the reader's grade, knee", ylabel="the same, mirror image")
    ax.set_title(f"{changed.mean():.0%} of knees change grade when flipped")
    return ax


def comparison_figure(table: pd.DataFrame, *, metrics: Sequence[str] | None = None) -> Figure:
    """Figure with one panel a metric: each method's value as a point with its interval; the baseline's as a line.

    Parameters
    ----------
    table
        From `compare`.
    metrics
        Omitted, those of the table in its order.
    """
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(table["metric"])) if metrics is None else list(metrics)
    absent = [name for name in names if name not in set(table["metric"])]
    if absent or not names:
        raise KoaError(f"The comparison has no metric {absent}.", remedy="Name it in compare(…, metrics=…).")
    methods = list(dict.fromkeys(table["method"]))
    baseline = table["baseline"].iloc[0]
    size = (2.2 + 2.7 * len(names), 1.35 + 0.42 * len(methods))
    figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, name in zip(axes[0], names, strict=True):
        rows = table[table["metric"] == name].set_index("method").loc[methods]
        ax.axvline(rows.loc[baseline, "value"], color=FAINT, linewidth=1.5, zorder=0)
        for height, (method, row) in enumerate(rows.iterrows()):
            told = not (row["difference_low"] <= 0 <= row["difference_high"]) and not np.isnan(row["difference_low"])
            colour = INK if method == baseline else ACCENT if told else GRADE_COLOURS[0]
            ax.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=2)
            ax.plot(row["value"], height, "o", color=colour, markersize=7)
        ax.set_title(METRIC_LABELS[name], fontsize=11)
        ax.grid(axis="x", color=FAINT, linewidth=0.6)
        ax.locator_params(axis="x", nbins=4)
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    figure.supxlabel(
        f"interval over patients · orange: interval of the difference from {baseline} excludes 0", fontsize=9.5
    )
    return figure
