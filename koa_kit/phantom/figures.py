"""Figures of phantom knees: where things are, what the grades look like, and where readers disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.grades import LABEL_NAMES
from koa_kit.phantom.drawing.radiograph import draw_knee, landmark_pixels
from koa_kit.phantom.knee.exposure import Exposure
from koa_kit.phantom.knee.features import KneeFeatures, kl_grade
from koa_kit.phantom.readers.readers import agreement, reader_confusion
from koa_kit.style import ACCENT, GRADE_COLOURS, INK, RADIOGRAPH

CLEAR = Exposure(brightness=0.58, contrast=0.18, glow=0.15, blur=0.6, noise=0.008, trabeculae=0.35, leg_width_mm=122)
"""A well exposed, upright knee, for explaining."""

_SIZE = 448

# Medial and lateral width in mm, osteophytes at the four sites, sclerosis, deformity: a plain case of each grade.
_PLAIN_CASES = (
    KneeFeatures(4.5, 6.1, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, exposure=CLEAR),
    KneeFeatures(3.5, 6.0, 0.4, 0.7, 0.0, 0.2, 0.3, 0.0, exposure=CLEAR),
    KneeFeatures(3.0, 6.0, 1.1, 1.6, 0.5, 0.6, 0.6, 0.0, exposure=CLEAR),
    KneeFeatures(1.9, 5.9, 1.7, 2.1, 1.0, 0.9, 1.6, 0.4, exposure=CLEAR),
    KneeFeatures(0.6, 5.8, 2.5, 2.9, 1.6, 1.4, 2.7, 2.0, exposure=CLEAR),
)


def anatomy_figure(seed: int = 0, side: str = "R"):
    """Figure of one labelled phantom: bones, joint spaces, spines and an osteophyte, with leader lines.

    Parameters
    ----------
    seed
        The person's build.
    side
        "R" or "L"; the labels follow the knee, so medial and lateral change places.
    """
    import matplotlib.pyplot as plt

    features = KneeFeatures(
        jsw_medial_mm=3.6, osteophyte_medial_tibia=2.2, osteophyte_medial_femur=1.0, sclerosis=0.8, exposure=CLEAR
    )
    image = draw_knee(features, side=side, size=_SIZE, seed=seed)
    places = landmark_pixels(features, side=side, size=_SIZE, seed=seed)
    x_fibula, y_fibula = places["fibula"]
    places["fibula"] = (float(np.clip(x_fibula, 14, _SIZE - 15)), y_fibula + 6)
    places["osteophyte"] = places["medial_tibia_margin"]
    texts = {
        "lateral": (("femur", "femur"), ("lateral_joint_space", "lateral\njoint space"), ("fibula", "fibula (head)")),
        "medial": (
            ("tibial_spines", "tibial spines"),
            ("medial_joint_space", "medial\njoint space"),
            ("osteophyte", "osteophyte"),
            ("tibia", "tibia"),
        ),
    }
    figure, ax = plt.subplots(figsize=(8.4, 5.2))
    ax.imshow(image, **RADIOGRAPH)
    lateral_left = side == "R"
    for compartment, entries in texts.items():
        left = (compartment == "lateral") == lateral_left
        names = [name for name, _ in entries]
        heights = _apart([places[name][1] for name in names], names.index(f"{compartment}_joint_space"), 50)
        for (name, text), height in zip(entries, heights, strict=True):
            ax.annotate(
                text,
                xy=places[name],
                xytext=(-26 if left else _SIZE + 26, height),
                ha="right" if left else "left",
                va="center",
                color=ACCENT if name == "osteophyte" else INK,
                fontsize=11,
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": ACCENT, "lw": 1.2, "shrinkA": 4, "shrinkB": 0},
            )
            ax.plot(*places[name], "o", color=ACCENT, ms=4.5, mec="white", mew=0.8)
    for left, text in ((lateral_left, "lateral"), (not lateral_left, "medial")):
        ax.text(0 if left else _SIZE, -10, text, ha="left" if left else "right", va="bottom", color=INK, style="italic")
    name = "right" if side == "R" else "left"
    ax.text(_SIZE / 2, -10, f"A {name} knee, seen from the front", ha="center", va="bottom", weight="bold")
    ax.set(xlim=(-0.5, _SIZE - 0.5), ylim=(_SIZE - 0.5, -0.5))
    ax.set_axis_off()
    return figure


def grade_row_figure(seed: int = 0):
    """Figure of five phantoms side by side, KL0 to KL4, alike in build and exposure, disease medial."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(_PLAIN_CASES), figsize=(12.5, 3.3))
    for features, ax in zip(_PLAIN_CASES, axes, strict=True):
        grade = kl_grade(features)
        ax.imshow(draw_knee(features, size=_SIZE, seed=seed), **RADIOGRAPH)
        ax.set_title(f"KL{grade} {LABEL_NAMES[grade]}", color=GRADE_COLOURS[grade], loc="center")
        ax.text(0.5, -0.04, _in_words(features), transform=ax.transAxes, ha="center", va="top", fontsize=9.5)
        ax.set_axis_off()
    return figure


def readers_figure(table: pd.DataFrame):
    """Figure of three matrices: every two readers' grades of the same knees, in per cent of the first reader's grade.

    Parameters
    ----------
    table
        Columns `READER_COLUMNS`, one row a knee, as in a phantom cohort's table.
    """
    import matplotlib.pyplot as plt

    pairs = agreement(table)
    figure, axes = plt.subplots(1, len(pairs), figsize=(11.5, 3.9), layout="constrained")
    for ax, pair in zip(axes, pairs.itertuples(), strict=True):
        counts = reader_confusion(table[f"reader_{pair.reader}"], table[f"reader_{pair.other}"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*shares.shape):
            if counts[row, column]:
                dark = shares[row, column] > 0.55
                text = f"{shares[row, column]:.0%}"
                ax.text(column, row, text, ha="center", va="center", color="white" if dark else INK, fontsize=9)
        labels = [f"KL{grade}" for grade in range(len(shares))]
        ax.set_xticks(range(len(shares)), labels, fontsize=9)
        ax.set_yticks(range(len(shares)), labels, fontsize=9)
        ax.set(xlabel=f"reader {pair.other}", ylabel=f"reader {pair.reader}")
        ax.set_title(f"{pair.reader} and {pair.other}: kappa {pair.kappa:.2f}", loc="center")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def _in_words(features: KneeFeatures) -> str:
    return f"medial space {features.jsw_medial_mm:.1f} mm\nlargest osteophyte {max(features.osteophytes):.1f} of 3"


def _apart(heights: list[float], pinned: int, least: float) -> list[float]:
    """Heights in the same order, no two closer than `least`: the pinned one stays, the others give way to both ends."""
    placed = list(heights)
    for above in range(pinned - 1, -1, -1):
        placed[above] = min(heights[above], placed[above + 1] - least)
    for below in range(pinned + 1, len(heights)):
        placed[below] = max(heights[below], placed[below - 1] + least)
    return placed
