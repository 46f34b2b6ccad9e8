"""Pictures of an explanation: the heat over its radiograph, and how much of such heat lies on true signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.attribution.scores import Attribution
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, RADIOGRAPH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOR, AGAINST, OUTLINE, OPACITY = ACCENT, GRADE_COLOURS[0], "#ffe08a", 0.85
"""Orange speaks for the grade, blue against it: a pair that colour-blind readers tell apart. Masks are outlined."""

BRIGHTEST = 99.5
"""Percentile of the heat that gets the full colour: a few grains of integrated gradients would dim all others."""

METHOD_NAMES = {"gradcam": "Grad-CAM", "integrated_gradients": "integrated gradients", "occlusion": "occlusion"}


def attribution_figure(image: np.ndarray, attribution: Attribution, mask: np.ndarray | None = None) -> Figure:
    """Figure of a radiograph, and beside it the same with the heat over it; where there is none, the film shows.

    Parameters
    ----------
    image
        uint8 ``(H, W)``: the radiograph that was explained.
    attribution
        From `koa_kit.attribution.maps.explain`.
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

    heat, towards, rather_than = attribution.heat, attribution.towards, attribution.rather_than
    for name, picture in (("image", image), ("mask", mask)):
        if picture is not None and np.shape(picture) != heat.shape:
            raise KoaError(
                f"The {name} does not fit the heat: {np.shape(picture)} and {heat.shape}.",
                where=name,
                remedy="Pass the radiograph that was explained, and a mask of its size.",
            )
    figure, (film, map_) = plt.subplots(1, 2, figsize=(8.4, 4.6), layout="constrained")
    for axes in (film, map_):
        axes.imshow(image, **RADIOGRAPH)
        axes.set_axis_off()
        if mask is not None and np.any(mask):
            axes.contour(np.asarray(mask, float), levels=[0.5], colors=OUTLINE, linewidths=1.3)
    colours = LinearSegmentedColormap.from_list("for and against", [AGAINST, "#ffffff", FOR])
    limit = np.percentile(abs(heat[heat != 0]), BRIGHTEST) if heat.any() else 1.0
    over = colours(np.where(heat > 0, 1.0, 0.0))
    over[..., 3] = OPACITY * np.clip(abs(heat) / limit, 0, 1)
    map_.imshow(over, interpolation="nearest")
    film.set_title("the film" if mask is None else "the film, the true signs outlined")
    map_.set_title(attribution.question)
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), colours), ax=map_, shrink=0.8, ticks=[-1, 0, 1])
    against = "against it" if rather_than is None else f"for KL{rather_than}"
    bar.ax.set_yticklabels([against, "neither", f"for KL{towards}"])
    lead = f"logit of KL{towards} {attribution.difference:+.2f}"
    if rather_than is not None:
        verb = "leads" if attribution.difference >= 0 else "trails"
        lead = f"KL{towards} {verb} by {abs(attribution.difference):.2f}"
    gap = "" if np.isnan(attribution.gap) else f"; the heat misses its sum by {abs(attribution.gap):.2f}"
    figure.supxlabel(f"{METHOD_NAMES.get(attribution.method, attribution.method)}; {lead}{gap}", fontsize=10)
    return figure


def score_figure(table: pd.DataFrame) -> Figure:
    """Figure of how often the hottest pixel, and how much of the heat, lies where each sign lies, beside chance.

    Parameters
    ----------
    table
        From `koa_kit.attribution.sanity.score_on_phantoms`. Signs that no knee has are named below.

    Raises
    ------
    KoaError
        If no knee has any sign.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    table = table.assign(sign=table["sign"].str.replace("_", " "))
    shown, absent = table[table["knees"] > 0], table.loc[table["knees"] == 0, "sign"]
    if shown.empty:
        raise KoaError("There is no sign to show: no knee has any.", where="table")
    size = (10.5, 1.6 + 0.42 * len(shown))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    signs = shown["sign"] + ", " + shown["knees"].astype(str) + " knees"
    stroke = {"markersize": 13, "markeredgewidth": 2}
    for axes, name in ((left, "hit_rate"), (right, "energy")):
        axes.hlines(signs, shown[f"{name}_low"], shown[f"{name}_high"], color=ACCENT, linewidth=2.4)
        axes.plot(shown[name], signs, "o", color=ACCENT, markersize=7, label="this model's maps, 95 % interval")
        axes.plot(shown["chance"], signs, "|", color=INK, label="a map that knows nothing", **stroke)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", color=FAINT)
        axes.set_axisbelow(True)
    # hollow, for it often lies on the dot
    hollow = {"color": GRADE_COLOURS[0], "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8}
    right.plot(shown["typical"], signs, "D", label="the mean map of the other patients", **hollow)
    left.set_xlim(-0.03, 1.03)
    right.set_xlim(left=min(-0.005, right.get_xlim()[0]))
    left.invert_yaxis()
    left.set_title("The hottest pixel lies on the sign")
    right.set_title("Share of the heat that lies on it")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=10)
    if len(absent):
        figure.supxlabel("in no knee: " + "; ".join(absent), fontsize=9.5)
    return figure
