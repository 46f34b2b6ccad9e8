"""Pictures of a cohort: what a knee of each grade looks like, and what the table alone would hide."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koa_kit.cohort import Cohort
from koa_kit.data.audit import class_counts, knee_pairs
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import GRADE_COLOURS, INK, RADIOGRAPH, SEQUENTIAL

BORDER, TITLE_PAD, TITLE_LINE = 0.05, 0.12, 0.18
"""Inches: between X-rays, above a title, and for each of its lines."""


def class_counts_figure(data: Cohort, *, ax: Axes | None = None) -> Axes:
    """Bars of the knees a grade, one group a split, each bar with its count and its share of the split."""
    counts = class_counts(data).drop(columns="total")
    if ax is None:
        _, ax = plt.subplots(figsize=(3.2 * max(2, len(counts)) + 0.8, 3.6), layout="constrained")
    width = 0.84 / len(GRADES)
    for kl in GRADES:
        places = np.arange(len(counts)) + (kl - 2) * width
        bars = ax.bar(places, counts[f"KL{kl}"], width * 0.94, color=GRADE_COLOURS[kl], label=grade_label(kl))
        shares = counts[f"KL{kl}"] / counts.sum(axis=1)
        labels = [f"{count}\n{share:.0%}" for count, share in zip(counts[f"KL{kl}"], shares, strict=True)]
        ax.bar_label(bars, labels, padding=2, fontsize=8.5)
    ax.set(xticks=range(len(counts)), ylabel="knees", title=f"{data.name}: knees a grade")
    ax.set_xticklabels([f"{split} ({total:,})" for split, total in zip(counts.index, counts.sum(axis=1), strict=True)])
    ax.margins(y=0.18)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9, loc="upper right")
    return ax


def contact_sheet(data: Cohort, *, rows_per_grade: int = 6, split: str | None = None, seed: int = 0) -> Figure:
    """Grid of knees drawn at random: a column a grade, `rows_per_grade` examples of it below one another.

    Parameters
    ----------
    data
        Cohort to draw from.
    rows_per_grade
        Examples of each grade; fewer are shown where the cohort has fewer.
    split
        Draw from this split only.
    seed
        Which knees are drawn.
    """
    data = data.split(split) if split else data
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(data.table["kl"] == kl) for kl in GRADES]
    rows = [rng.permutation(of_grade)[:rows_per_grade] for of_grade in rows]
    figure, axes = _grid(max(1, *map(len, rows)), len(GRADES), data)
    for column, (kl, of_grade) in enumerate(zip(GRADES, rows, strict=True)):
        axes[0, column].set_title(grade_label(kl), color=GRADE_COLOURS[kl], fontsize=11, loc="left")
        for ax, row in zip(axes[:, column], of_grade, strict=False):
            ax.imshow(data.images[row], **RADIOGRAPH)
            _caption(ax, data.table["knee_id"].iloc[row])
    return figure


def inverted_figure(data: Cohort, *, n: int = 4) -> Figure:
    """Knees whose file shows bone dark, above as on file and below as read; a sentence if the cohort has none."""
    rows = np.flatnonzero(data.table["inverted"])
    if not len(rows):
        figure, ax = plt.subplots(figsize=(6, 0.8), layout="constrained")
        ax.text(0, 0.5, f"{data.name}: no file shows bone dark.", va="center", fontsize=11, color=INK)
        ax.set_axis_off()
        return figure
    rows = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int)]
    figure, axes = _grid(2, len(rows), data)
    for column, row in enumerate(rows):
        for ax, image in zip(axes[:, column], (255 - data.images[row], data.images[row]), strict=True):
            ax.imshow(image, **RADIOGRAPH)
        axes[0, column].set_title(data.table["knee_id"].iloc[row], fontsize=10, loc="left")
    for ax, name in zip(axes[:, 0], ("as on file", "as read"), strict=True):
        ax.set_axis_on()
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, fontsize=11)
    return figure


def mean_knees(data: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Mean image of the left knees and of the right knees, float ``(H, W)``, 0 to 255."""
    sides = data.table["side"].to_numpy()
    if not {"L", "R"} <= set(sides):
        raise KoaError("Left and right knees are needed to compare them.", where=data.name)
    return tuple(_mean_image(data.images, np.flatnonzero(sides == side)) for side in ("L", "R"))


def mean_knee_figure(data: Cohort) -> Figure:
    """Mean left knee, mean right knee and the latter flipped; titles give each one's correlation with the mean left."""
    left, right = mean_knees(data)
    shown = {"mean left knee": left, "mean right knee": right, "mean right, flipped": right[:, ::-1]}
    figure, axes = _grid(1, len(shown), data, image_inches=2.3, title_lines=2)
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
    counts = pairs.groupby(["L", "R"]).size().unstack(fill_value=0).reindex(index=GRADES, columns=GRADES, fill_value=0)
    shares = counts / len(pairs)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
    sns.heatmap(100 * shares, annot=True, fmt=".1f", cmap=SEQUENTIAL, square=True, cbar=False, linewidths=1, ax=ax)
    names = [f"KL{kl}" for kl in GRADES]
    ax.set(xlabel="right knee", ylabel="left knee", xticklabels=names, yticklabels=names)
    ax.tick_params(length=0)
    same = np.trace(shares.to_numpy())
    ax.set_title(f"Same grade in {same:.0%} of {len(pairs):,} patients\n(cells: percent of patients)", fontsize=11)
    return ax


def progression_figure(data: pd.DataFrame, *, months: int = 48, ax: Axes | None = None) -> Axes:
    """Bars of the share that got at least one grade worse, by baseline grade; a sentence if no knee was followed up.

    Parameters
    ----------
    data
        Table by `koa_kit.data.progression`.
    months
        As given to `progression`, for the title.
    """
    if data.empty:
        ax = ax or plt.subplots(figsize=(6, 0.8), layout="constrained")[1]
        ax.text(0, 0.5, "These knees were X-rayed once: no follow-up grades.", va="center", fontsize=11, color=INK)
        ax.set_axis_off()
        return ax
    ax = ax or plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1]
    worse = data["one_grade_worse"].dropna()
    bars = ax.bar(range(len(worse)), worse, 0.62, color=[GRADE_COLOURS[kl] for kl in worse.index])
    ax.bar_label(bars, [f"{share:.0%}" for share in worse], padding=3)
    labels = [f"{grade_label(kl)}\n{n:,} knees" for kl, n in data.loc[worse.index, "n"].items()]
    ax.set_xticks(range(len(worse)), labels, fontsize=10)
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.set(ylim=(0, max(0.2, 1.2 * worse.max())), ylabel="share of knees", xlabel="grade at baseline")
    ax.set_title(f"At least one grade worse within {months} months")
    ax.tick_params(axis="x", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _mean_image(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(images.shape[1:])
    for start in range(0, len(rows), 512):  # In blocks: a mapped array need not fit into memory.
        total += images[rows[start : start + 512]].sum(axis=0, dtype=np.float64)
    return total / len(rows)


def _grid(
    rows: int, columns: int, data: Cohort, *, image_inches: float = 1.55, title_lines: int = 1
) -> tuple[Figure, np.ndarray]:
    height, width = data.images.shape[1:]
    below = rows * (image_inches * height / width + BORDER)
    size = (columns * (image_inches + BORDER), below + TITLE_PAD + title_lines * TITLE_LINE)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0.01, hspace=0.01)
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_anchor("S")  # Square images leave room in their cells: above, where the title stands.
    return figure, axes


def _caption(ax: Axes, text: str) -> None:
    """Small text inside the lower left corner, on its own dark ground so that it reads on any X-ray."""
    box = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5}
    ax.text(0.02, 0.02, text, transform=ax.transAxes, fontsize=7, color="white", va="bottom", bbox=box)
