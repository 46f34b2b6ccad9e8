"""Pictures of an explanation: the heat over its radiograph, and how much of such heat lies on true signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.attribution.scores import UNION, Attribution
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, RADIOGRAPH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOR, AGAINST, OUTLINE = ACCENT, GRADE_COLOURS[0], "#ffe08a"
"""Orange speaks for the grade, blue against it: a pair that colour-blind readers tell apart. Masks are outlined."""

BRIGHTEST = 99.5
"""Percentile of the heat that gets the full colour: a few grains of integrated gradients would dim all others."""

OPACITY = 0.85

METHOD_NAMES = {"gradcam": "Grad-CAM", "integrated_gradients": "integrated gradients", "occlusion": "occlusion"}


def attribution_figure(image: np.ndarray, attribution: Attribution, mask: np.ndarray | None = None) -> Figure:
    """Figure of a radiograph, and beside it the same with the heat over it; where there is none, the film shows.

    Parameters
    ----------
    image
        uint8 ``(H, W)``: the radiograph that was explained.
    attribution
        From `koa_kit.attribution.explain.explain`.
    mask
        Bool ``(H, W)``, outlined in both pictures: where the signs truly lie.

    Raises
    ------
    KoaError
        If the image or the mask is of another shape than the heat.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    image, heat = np.asarray(image), attribution.heat
    for name, picture in (("image", image), ("mask", mask)):
        if picture is not None and np.shape(picture) != heat.shape:
            raise KoaError(
                f"The {name} does not fit the heat: {np.shape(picture)} and {heat.shape}.",
                where=name,
                remedy="Pass the radiograph that was explained, and a mask of its size.",
            )
    figure, (film, map_) = plt.subplots(1, 2, figsize=(8.4, 4.6), layout="constrained")
    colours = LinearSegmentedColormap.from_list("for and against", [AGAINST, "#ffffff", FOR])
    limit = np.percentile(abs(heat[heat != 0]), BRIGHTEST) if heat.any() else 1.0
    strength = np.clip(heat / limit, -1, 1)
    over = colours(np.where(strength > 0, 1.0, 0.0))
    over[..., 3] = OPACITY * abs(strength)
    for axes in (film, map_):
        axes.imshow(image, **RADIOGRAPH)
        axes.set_axis_off()
    map_.imshow(over, interpolation="nearest")
    if mask is not None and np.any(mask):
        for axes in (film, map_):
            axes.contour(np.asarray(mask, float), levels=[0.5], colors=OUTLINE, linewidths=1.3)
    film.set_title("the film, the true signs outlined" if mask is not None else "the film")
    map_.set_title(attribution.question)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), colours), ax=map_, shrink=0.8, ticks=[-1, 0, 1], pad=0.02, aspect=28
    )
    against = "against it" if attribution.rather_than is None else f"for KL{attribution.rather_than}"
    bar.ax.set_yticklabels([against, "neither", f"for KL{attribution.towards}"], fontsize=10)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    said = f"{METHOD_NAMES.get(attribution.method, attribution.method)}; {_lead(attribution)}"
    if np.isfinite(attribution.gap):
        said += f"; the heat misses its sum by {abs(attribution.gap):.2f}"
    figure.supxlabel(said, fontsize=10)
    return figure


def score_figure(table: pd.DataFrame) -> Figure:
    """Figure of how often the hottest pixel, and how much of the heat, lies where each sign lies, beside chance.

    Parameters
    ----------
    table
        From `koa_kit.attribution.scores.score_table`. Signs that no knee has are left out of the rows
        and named below.

    Raises
    ------
    KoaError
        If no knee has any sign.
    """
    import matplotlib.pyplot as plt

    shown, absent = table[table["knees"] > 0], table[table["knees"] == 0]
    if shown.empty:
        raise KoaError("There is no sign to show: no knee has any.", where="table")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10.5, 1.6 + 0.42 * len(shown)), layout="constrained", sharey=True
    )
    at = np.arange(len(shown))
    for axes, name, chance in ((left, "hit_rate", "hit_chance"), (right, "energy", "chance")):
        axes.hlines(at, shown[f"{name}_low"], shown[f"{name}_high"], color=ACCENT, linewidth=2.4)
        axes.plot(shown[name], at, "o", color=ACCENT, markersize=7, label="this model's maps, 95 % interval")
        axes.plot(shown[chance], at, "|", color=INK, markersize=13, markeredgewidth=2, label="a map that knows nothing")
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
    # hollow, for it often lies on the dot
    hollow = {"color": GRADE_COLOURS[0], "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8}
    right.plot(shown["typical"], at, "D", label="the mean map of the other patients", **hollow)
    widest = max(np.nanmax(shown[["energy", "energy_high", "chance", "typical"]].to_numpy()), 0.1)
    right.set_xlim(-0.03 * widest, 1.08 * widest)
    left.set_xlim(-0.03, 1.03)
    left.set_yticks(at, [f"{_words(sign)}, {knees} knees" for sign, knees in shown[["sign", "knees"]].to_numpy()])
    left.invert_yaxis()
    left.set_title("The hottest pixel lies on the sign")
    right.set_title("Share of the heat that lies on it")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10)
    if len(absent):
        figure.supxlabel("in no knee: " + "; ".join(map(_words, absent["sign"])), fontsize=9.5)
    return figure


def _words(sign: str) -> str:
    """Name of a mask as a reader would say it, for example "osteophyte medial femur"."""
    return sign if sign == UNION else sign.replace("_", " ")


def _lead(attribution: Attribution) -> str:
    if attribution.rather_than is None:
        return f"logit of KL{attribution.towards} {attribution.difference:+.2f}"
    leads = "leads" if attribution.difference >= 0 else "trails"
    return f"KL{attribution.towards} {leads} by {abs(attribution.difference):.2f}"
