"""Pictures of a cohort: what a knee of each grade looks like, and what the table alone would hide."""

from __future__ import annotations

from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from koa_kit.cohort import Cohort
from koa_kit.data.audit import class_counts, knee_pairs
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import GRADE_COLOURS, INK, RADIOGRAPH, SEQUENTIAL


def class_counts_figure(data: Cohort, *, ax: Axes | None = None) -> Axes:
    """Bars of the knees per grade, one group per split, each bar with its count and its share of the split."""
    counts = class_counts(data).drop(columns="total").set_axis([grade_label(kl) for kl in GRADES], axis=1)
    totals = counts.sum(axis=1)
    ax = ax or plt.subplots(figsize=(3.2 * max(2, len(counts)) + 0.8, 3.6), layout="constrained")[1]
    bars = counts.reset_index().melt("split", var_name="grade", value_name="knees")
    sns.barplot(
        bars, x="split", y="knees", hue="grade", palette=list(GRADE_COLOURS), saturation=1, width=0.84, gap=0.06, ax=ax
    )
    for container, (_, of_grade) in zip(cast(list[BarContainer], ax.containers), counts.items(), strict=True):
        labels = [f"{count}\n{count / totals[split]:.0%}" for split, count in of_grade.items()]
        ax.bar_label(container, labels, padding=2, fontsize=8.5)
    ax.set_xticks(range(len(counts)), [f"{split} ({total:,})" for split, total in totals.items()])
    ax.set(xlabel="", title=f"{data.name}: knees per grade")
    ax.margins(y=0.18)
    sns.despine(ax=ax)
    ax.legend(frameon=False, fontsize=9, loc="upper right")
    return ax


def contact_sheet(data: Cohort, *, rows_per_grade: int = 6, split: str | None = None, seed: int = 0) -> Figure:
    """Grid of knees drawn at random: a column per grade, `rows_per_grade` examples of it below one another.

    Fewer are shown where the cohort, or its part `split` if one is named, has fewer; `seed` decides which.
    """
    data = data.split(split) if split else data
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(data.table["kl"] == kl))[:rows_per_grade] for kl in GRADES]
    figure, axes = _grid(max(1, *map(len, rows)), len(GRADES), data)
    for kl in GRADES:
        axes[0, kl].set_title(grade_label(kl), color=GRADE_COLOURS[kl], fontsize=11, loc="left")
        for ax, row in zip(axes[:, kl], rows[kl], strict=False):
            ax.imshow(data.images[row], **RADIOGRAPH)
            name, x, y = data.table["knee_id"].iloc[row], 0.03 * data.images.shape[2], 0.96 * data.images.shape[1]
            ax.text(x, y, name, fontsize=7, color="white", backgroundcolor="#0008")
    return figure


def inverted_figure(data: Cohort, *, n: int = 4) -> Figure:
    """Knees whose file shows bone dark, above as on file and below as read; a sentence if the cohort has none."""
    rows = np.flatnonzero(data.table["inverted"])
    if not len(rows):
        return cast(Figure, _sentence(f"{data.name}: no file shows bone dark.").figure)
    rows = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int)]
    figure, axes = _grid(2, len(rows), data)
    for column, row in enumerate(rows):
        axes[0, column].imshow(255 - data.images[row], **RADIOGRAPH)
        axes[1, column].imshow(data.images[row], **RADIOGRAPH)
        axes[0, column].set_title(data.table["knee_id"].iloc[row], fontsize=10, loc="left")
    for ax, name in zip(axes[:, 0], ("as on file", "as read"), strict=True):
        ax.set_axis_on()
        ax.set(xticks=[], yticks=[], frame_on=False)
        ax.set_ylabel(name, fontsize=11)
    return figure


def mean_knees(data: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Mean image of the left knees and of the right knees, float ``(H, W)``, 0 to 255."""
    left, right = (np.flatnonzero(data.table["side"] == side) for side in "LR")
    if not (len(left) and len(right)):
        raise KoaError("Left and right knees are needed to compare them.", where=data.name)

    def mean(rows: np.ndarray) -> np.ndarray:
        blocks = np.array_split(rows, len(rows) // 512 + 1)  # A mapped array need not fit into memory.
        return sum(data.images[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)

    return mean(left), mean(right)


def mean_knee_figure(data: Cohort) -> Figure:
    """Mean left knee, mean right knee and the latter flipped; titles give each one's correlation with the mean left."""
    left, right = mean_knees(data)
    shown = {"mean left knee": left, "mean right knee": right, "mean right, flipped": right[:, ::-1]}
    figure, axes = _grid(1, len(shown), data, inches=2.35, title_inches=0.5)
    for ax, (name, image) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(image, **RADIOGRAPH)
        correlation = np.corrcoef(left.ravel(), image.ravel())[0, 1]
        ax.set_title(f"{name}\nr = {correlation:.3f} with mean left", fontsize=10, loc="left")
    return figure


def pair_agreement_figure(data: Cohort, *, ax: Axes | None = None) -> Axes:
    """Heat map of the left knee's grade against the right knee's of the same patient, in percent of the patients."""
    pairs = knee_pairs(data.table)
    if pairs.empty:
        raise KoaError("No patient of this cohort has both knees.", where=data.name)
    shares = pd.crosstab(pairs["L"], pairs["R"], normalize=True).reindex(index=GRADES, columns=GRADES, fill_value=0)
    ax = ax or plt.subplots(figsize=(4.8, 4.4), layout="constrained")[1]
    shares = shares.rename(index="KL{}".format, columns="KL{}".format)
    sns.heatmap(100 * shares, annot=True, fmt=".1f", cmap=SEQUENTIAL, square=True, cbar=False, linewidths=1, ax=ax)
    same = (pairs["L"] == pairs["R"]).mean()
    ax.set_title(f"Same grade in {same:.0%} of {len(pairs):,} patients\n(cells: percent of patients)", fontsize=11)
    ax.set(xlabel="right knee", ylabel="left knee")
    ax.tick_params(length=0)
    return ax


def progression_figure(data: pd.DataFrame, *, months: int = 48, ax: Axes | None = None) -> Axes:
    """Bars of the share that got at least one grade worse, by baseline grade; a sentence if no knee was followed up.

    `data` is the table by `koa_kit.data.progression`, `months` what was given there.
    """
    if data.empty:
        return _sentence("These knees were X-rayed once: no follow-up grades.", ax)
    ax = ax or plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1]
    worse = data.dropna(subset="one_grade_worse")
    shares = worse["one_grade_worse"].to_numpy()
    labels = [f"{grade_label(kl)}\n{n:,} knees" for kl, n in worse["n"].items()]
    colours = [GRADE_COLOURS[kl] for kl in worse.index]
    sns.barplot(x=labels, y=shares, hue=labels, palette=colours, saturation=1, width=0.62, ax=ax)
    for bar, share in zip(cast(list[BarContainer], ax.containers), shares, strict=True):
        ax.bar_label(bar, [f"{share:.0%}"], padding=3)
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set(ylim=(0, max(0.2, 1.2 * shares.max())), ylabel="share of knees", xlabel="grade at baseline")
    ax.set_title(f"At least one grade worse within {months} months")
    ax.tick_params(axis="x", length=0, labelsize=10)
    sns.despine(ax=ax)
    return ax


def _grid(rows: int, columns: int, data: Cohort, *, inches=1.6, title_inches=0.3) -> tuple[Figure, np.ndarray]:
    height, width = data.images.shape[1:]
    size = (columns * inches, rows * inches * height / width + title_inches)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.04, wspace=0.01, hspace=0.01)
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_anchor("S")  # Square images leave room in their cells: above, where the title stands.
    return figure, axes


def _sentence(text: str, ax: Axes | None = None) -> Axes:
    """Axes that hold a sentence in the place of a picture."""
    ax = ax or plt.subplots(figsize=(6, 0.8), layout="constrained")[1]
    ax.text(0, 0.5, text, va="center", fontsize=11, color=INK)
    ax.set_axis_off()
    return ax
