"""Figures of a comparison: which method or row of a grid is better, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koa_kit.error_analysis.figures import axes_of
from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.error_analysis.statistics.seeds import SeedTables, seed_values
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER

ARM_COLOURS = (*GRADE_COLOURS, INK)
ARM_MARKERS = ("o", "s", "^", "D", "v")  # one fewer than colours: 30 rows differ in one, neighbours in both


def comparison_figure(table: pd.DataFrame, *, metrics: Sequence[str] | None = None) -> Figure:
    """Figure with one panel per metric of `compare`: each method's value and interval, the baseline as a line."""
    differs = (table["difference_low"] > 0) | (table["difference_high"] < 0)
    note = "interval over patients · orange: interval of the difference from {} excludes 0"
    return _panels(table.rename(columns={"method": "row"}), differs, metrics, note)


def arms_figure(
    comparison: pd.DataFrame, per_seed: pd.DataFrame | None = None, metrics: Sequence[str] | None = None
) -> Figure:
    """Figure with one panel per metric of `compare_arms`: each row's mean as a dot with its interval in figures.

    The vertical line is the baseline's value; orange is a row that differs from it with ``p_holm`` below 0.05.
    `per_seed`, from `seed_values`, adds each training as a faint dot.
    """
    single = "" if per_seed is None else " · small dots: single trainings"
    note = f"mean over seeds, interval over patients and seeds{single}"
    note += "\nline: {} · orange: differs from it, p < 0.05 by Holm"
    figure = _panels(comparison, comparison["p_holm"] < 0.05, metrics, note)
    if per_seed is not None:
        rows = list(dict.fromkeys(comparison["row"]))
        for ax, name in zip(figure.axes, metrics or dict.fromkeys(comparison["metric"]), strict=True):
            own = per_seed[(per_seed["metric"] == name) & per_seed["row"].isin(rows)]
            heights = own["row"].map(rows.index) + 0.26
            ax.scatter(own["value"], heights, s=14, color=INK, alpha=0.4, linewidth=0, zorder=3)
    return figure


def _panels(table: pd.DataFrame, differs: pd.Series, metrics: Sequence[str] | None, note: str) -> Figure:
    names = list(dict.fromkeys(table["metric"]) if metrics is None else metrics)
    absent = [name for name in names if name not in set(table["metric"])]
    if absent or not names:
        raise KoaError(f"The comparison has no metric {absent}.", remedy="Name it in the comparison's metrics=….")
    rows, baseline = list(dict.fromkeys(table["row"])), table["baseline"].iloc[0]
    colour = np.select([table["row"] == baseline, differs], [INK, ACCENT], GRADE_COLOURS[0])
    size = (0.4 + 0.082 * max(map(len, rows)) + 3.4 * len(names), 1.2 + 0.44 * len(rows))
    figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, name in zip(axes[0], names, strict=True):
        lines = table.assign(colour=colour)[table["metric"] == name].set_index("row").loc[rows]
        ax.axvline(lines.loc[baseline, "value"], color=INK, linewidth=1, alpha=0.45, zorder=0)
        for height, line in enumerate(lines.itertuples()):
            ax.plot([line.low, line.high], [height, height], color=line.colour, linewidth=2)
            ax.plot(line.value, height, "o", color=line.colour, markersize=7)
            text = "–" if np.isnan(line.value) else f"{line.value:.3f} [{line.low:.3f}, {line.high:.3f}]"
            ax.text(1.03, height, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
        ax.margins(x=0.08)
        ax.grid(axis="x", color=FAINT, linewidth=0.6)
        ax.tick_params(axis="x", labelsize=9.5)
        ax.locator_params(axis="x", nbins=5)
        ax.set_title(METRIC_LABELS[name], fontsize=11, loc="left")
    axes[0, 0].set_yticks(range(len(rows)), rows)
    axes[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    figure.supxlabel(note.format(baseline), fontsize=9.5)
    return figure


def recall_against_accuracy_figure(rows: Mapping[str, SeedTables], *, ax: Axes | None = None) -> Axes:
    """Axes with KL1 recall against accuracy: small points the trainings, each tied to the large one, its row's mean.

    Up and to the right is better; up and to the left buys recall of KL1 with knees of other grades. `KoaError` if no
    knee is KL1.
    """
    values = seed_values(rows, ("accuracy", "kl1_recall"))
    values = values.pivot(index=["row", "seed"], columns="metric", values="value")
    if values["kl1_recall"].isna().any():
        raise KoaError("No knee is KL1, so none can be found.", remedy="Take predictions that hold KL1 knees.")
    ax = axes_of(ax, 5.4 + 0.082 * max(map(len, rows)), 4.6)
    for place, row in enumerate(rows):
        look: dict = {"color": ARM_COLOURS[place % len(ARM_COLOURS)], "marker": ARM_MARKERS[place % len(ARM_MARKERS)]}
        each = values.loc[row, ["accuracy", "kl1_recall"]].to_numpy()
        mean = each.mean(0)
        for one in each:
            ax.plot(*zip(mean, one, strict=True), color=look["color"], linewidth=0.7, alpha=0.45, zorder=1)
        ax.scatter(each[:, 0], each[:, 1], s=18, alpha=0.55, linewidth=0, zorder=2, **look)
        ax.scatter(mean[0], mean[1], s=90, edgecolor=PAPER, linewidth=1, zorder=3, label=row, **look)
    ax.grid(color=FAINT, linewidth=0.6)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=10, handletextpad=0.3)
    ax.set(xlabel="accuracy", ylabel="KL1 recall")
    ax.set_title("Small: single trainings; large: their mean", fontsize=11)
    return ax
