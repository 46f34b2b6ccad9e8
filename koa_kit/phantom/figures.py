"""Figures of phantom knees: where things are, what the grades look like, and where readers disagree."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import confusion_matrix

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.phantom.drawing.radiograph import draw_knee, landmark_pixels
from koa_kit.phantom.knee.features import KneeFeatures, kl_grade
from koa_kit.phantom.knee.records import Exposure
from koa_kit.phantom.laboratory.page import LabState, draw, opinions
from koa_kit.phantom.readers.readers import agreement
from koa_kit.style import ACCENT, GRADE_COLOURS, INK, RADIOGRAPH, SEQUENTIAL

CLEAR = Exposure(brightness=0.58, contrast=0.18, glow=0.15, blur=0.6, noise=0.008, trabeculae=0.35, leg_width_mm=122)
"""A well exposed, upright knee, for explaining."""

_SIZE = 448
_LABELS = {
    "lateral": {"femur": "femur", "lateral_joint_space": "lateral\njoint space", "fibula": "fibula (head)"},
    "medial": {
        "tibial_spines": "tibial spines",
        "medial_joint_space": "medial\njoint space",
        "osteophyte": "osteophyte",
        "tibia": "tibia",
    },
}

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

    The labels follow the side, "R" or "L", so medial and lateral change places.
    """
    features = KneeFeatures(
        jsw_medial_mm=3.6, osteophyte_medial_tibia=2.2, osteophyte_medial_femur=1.0, sclerosis=0.8, exposure=CLEAR
    )
    places = landmark_pixels(features, side=side, size=_SIZE, seed=seed)
    x_fibula, y_fibula = places["fibula"]
    places["fibula"] = (float(np.clip(x_fibula, 14, _SIZE - 15)), y_fibula + 6)
    places["osteophyte"] = places["medial_tibia_margin"]
    leader = {"arrowstyle": "-", "color": ACCENT, "lw": 1.2, "shrinkA": 4, "shrinkB": 0}
    look: dict = {"va": "center", "fontsize": 11, "annotation_clip": False}
    figure, ax = plt.subplots(figsize=(8.4, 5.2))
    ax.imshow(draw_knee(features, side=side, size=_SIZE, seed=seed), **RADIOGRAPH)
    for compartment, labels in _LABELS.items():
        left = (compartment == "lateral") == (side == "R")
        edge, margin, align = (0, -26, "left") if left else (_SIZE, _SIZE + 26, "right")
        ax.text(edge, -10, compartment, ha=align, va="bottom", color=INK, style="italic")
        heights = _apart([places[name][1] for name in labels], [*labels].index(f"{compartment}_joint_space"), 50)
        for (name, text), height in zip(labels.items(), heights, strict=True):
            colour, align = ACCENT if name == "osteophyte" else INK, "right" if left else "left"
            ax.annotate(text, places[name], (margin, height), ha=align, color=colour, arrowprops=leader, **look)
            ax.plot(*places[name], "o", color=ACCENT, ms=4.5, mec="white", mew=0.8)
    title = f"A {'right' if side == 'R' else 'left'} knee, seen from the front"
    ax.text(_SIZE / 2, -10, title, ha="center", va="bottom", weight="bold")
    ax.set(xlim=(-0.5, _SIZE - 0.5), ylim=(_SIZE - 0.5, -0.5))
    ax.set_axis_off()
    return figure


def grade_row_figure(seed: int = 0):
    """Figure of five phantoms side by side, KL0 to KL4, alike in build and exposure, disease medial."""
    figure, axes = plt.subplots(1, len(_PLAIN_CASES), figsize=(12.5, 3.3))
    for knee, ax in zip(_PLAIN_CASES, axes, strict=True):
        grade = kl_grade(knee)
        ax.imshow(draw_knee(knee, size=_SIZE, seed=seed), **RADIOGRAPH)
        ax.set_title(grade_label(grade), color=GRADE_COLOURS[grade], loc="center")
        words = f"medial space {knee.jsw_medial_mm:.1f} mm\nlargest osteophyte {max(knee.osteophytes):.1f} of 3"
        ax.text(0.5, -0.04, words, transform=ax.transAxes, ha="center", va="top", fontsize=9.5)
        ax.set_axis_off()
    return figure


def readers_figure(table: pd.DataFrame):
    """Figure of three matrices: every two readers' grades of the same knees, in per cent of the first reader's grade.

    `table` has the columns `READER_COLUMNS`, one row per knee, as in a phantom cohort's table.
    """
    pairs = agreement(table)
    figure, axes = plt.subplots(1, len(pairs), figsize=(11.5, 3.9), squeeze=False, layout="constrained")
    labels = [f"KL{grade}" for grade in GRADES]
    look = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1, "cbar": False, "square": True, "annot_kws": {"fontsize": 9}}
    for ax, pair in zip(axes[0], pairs.itertuples(), strict=True):
        one, other = table[f"reader_{pair.reader}"], table[f"reader_{pair.other}"]
        shares = confusion_matrix(one, other, labels=GRADES, normalize="true")
        words = np.where(shares > 0, np.char.mod("%.0f%%", 100 * shares), "")
        sns.heatmap(shares, ax=ax, annot=words, fmt="", xticklabels=labels, yticklabels=labels, **look)
        ax.set(xlabel=f"reader {pair.other}", ylabel=f"reader {pair.reader}")
        ax.set_title(f"{pair.reader} and {pair.other}: kappa {pair.kappa:.2f}", loc="center")
        ax.tick_params(length=0, labelsize=9, rotation=0)
    return figure


def laboratory_figure(states: Sequence[LabState] | None = None):
    """Figure of knees in a row and, below each, how likely every reader and the consensus are to give each grade.

    `states` omitted, one person's knee at five medial joint space widths; an empty list is a `KoaError`.
    """
    chosen = [LabState(jsw_medial_mm=width) for width in (5.0, 3.9, 2.8, 1.6, 0.5)] if states is None else list(states)
    if not chosen:
        raise KoaError("There is no knee to show.", remedy="Give at least one LabState.")
    size, ratios = (2.5 * len(chosen), 4.4), (2.3, 1)
    figure, axes = plt.subplots(2, len(chosen), squeeze=False, figsize=size, height_ratios=ratios, layout="constrained")
    for number, (state, top, below) in enumerate(zip(chosen, *axes, strict=True)):
        top.imshow(draw(state), **RADIOGRAPH)
        top.set_title(f"medial {state.jsw_medial_mm:.1f} mm", loc="center")
        top.set_axis_off()
        shares = pd.DataFrame(opinions(state), [f"KL{grade}" for grade in GRADES]).T
        shares.plot.barh(stacked=True, ax=below, width=0.72, color=GRADE_COLOURS, legend=False)
        below.set(xlim=(0, 1), xticks=[], xlabel=f"by the rules KL{kl_grade(state)}")
        below.tick_params(length=0, labelleft=number == 0)
        below.invert_yaxis()
        below.spines[:].set_visible(False)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(GRADES), frameon=False)
    return figure


def _apart(heights: list[float], pinned: int, least: float) -> list[float]:
    """Heights in the same order, no two closer than `least`: the pinned one stays, the others give way to both ends."""
    placed = list(heights)
    for above in range(pinned - 1, -1, -1):
        placed[above] = min(heights[above], placed[above + 1] - least)
    for below in range(pinned + 1, len(heights)):
        placed[below] = max(heights[below], placed[below - 1] + least)
    return placed
