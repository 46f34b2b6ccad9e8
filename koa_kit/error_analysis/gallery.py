"""X-rays of the knees that were confused, each with its similarity to the five prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.error_analysis.predictions import checked, grade_column, margin_of, probabilities, similarities
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.style import ACCENT, FAINT, INK, RADIOGRAPH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SORTS = {
    "closest": "closest calls first",
    "confident": "most confident first",
    "flip": "most changed by flipping first",
}


def gallery_order(s: np.ndarray, p: np.ndarray, p_flip: np.ndarray, pred: np.ndarray, sort: str) -> np.ndarray:
    """Row numbers in the order of `sort`, one of `SORTS`, from numbers ``(N, 5)`` and grades ``(N,)``."""
    if sort not in SORTS:
        raise KoaError(f"Knees cannot be sorted by {sort!r}.", where="sort", remedy=f"Choose from {', '.join(SORTS)}.")
    keys = {"closest": margin_of(s, pred), "confident": -p.max(1), "flip": -abs(p - p_flip).sum(1)}
    return np.argsort(keys[sort], kind="stable")


@checked
def confused(
    predictions: pd.DataFrame, true: int | None = None, pred: int | None = None, *, sort: str = "closest"
) -> pd.DataFrame:
    """Predictions of the knees a reader graded `true` and the model `pred`, sorted; ``None`` takes every grade.

    With both omitted, the knees whose two grades differ. `sort` is "closest" (smallest margin first), "confident"
    (largest probability) or "flip" (largest total variation between a knee's probabilities and its mirror image's).
    """
    kl, given = grade_column(predictions, "kl"), grade_column(predictions, "pred")
    chosen = kl != given if true is None and pred is None else np.ones(len(kl), bool)
    for grade, grades in ((true, kl), (pred, given)):
        if grade is not None and grade not in GRADES:
            raise KoaError(f"There is no grade {grade!r}.", remedy="Grades are 0 to 4, or None for all.")
        chosen &= True if grade is None else grades == grade
    knees = predictions[chosen]
    p, p_flip = probabilities(knees), probabilities(knees, "_flip")
    return knees.iloc[gallery_order(similarities(knees), p, p_flip, given[chosen], sort)]


def image_finder(images: Cohort | np.ndarray, table: pd.DataFrame) -> Callable[[object], np.ndarray]:
    """Function from a ``knee_id`` of `table` to its X-ray, uint8 ``(H, W)``, of a cohort or an array ``(N, H, W)``."""
    if isinstance(images, Cohort):
        knees, images = images.table["knee_id"], images.images
        absent = table.loc[~table["knee_id"].isin(knees), "knee_id"]
        if len(absent):
            what, remedy = f"{len(absent)} of {len(table)} knees are not in the cohort.", "Pass the cohort predicted."
            raise KoaError(what, where=f"knee {absent.iloc[0]}", remedy=remedy)
    else:
        knees, images = table["knee_id"], np.asarray(images)
        if images.ndim != 3 or len(images) != len(table):
            what = f"Images of shape {images.shape} do not fit {len(table)} knees."
            remedy = "Pass a cohort, or uint8 images (N, H, W) row for row with the predictions."
            raise KoaError(what, where="images", remedy=remedy)
    rows = {knee: row for row, knee in enumerate(knees)}
    return lambda knee: np.asarray(images[rows[knee]])


def gallery_figure(
    images: Cohort | np.ndarray | None, table: pd.DataFrame, *, columns: int = 5, limit: int = 10, title: str = ""
) -> Figure:
    """Figure of the first `limit` knees of `table`: X-ray, "KL1 → KL2", and the similarities to the five prompts.

    The model's grade is the orange bar, the reader's the dark one; all bars share one scale. `table` are predictions,
    for example from `confused`; `images` a cohort, or an array ``(N, H, W)`` row for row with them; ``None`` shows the
    similarities alone. `KoaError` if the images do not fit, or there is no knee.
    """
    import matplotlib.pyplot as plt

    if not len(table):
        raise KoaError("There is no knee in the table.", where="table", remedy="Check how they were selected.")
    if columns < 1 or limit < 1:
        raise KoaError("A gallery needs at least one column and one knee.", where=f"columns {columns}, limit {limit}")
    find = None if images is None else image_finder(images, table)
    knees = table.iloc[:limit]
    s = similarities(knees)
    columns = min(columns, len(knees))
    lines = -(-len(knees) // columns)
    height = 2.9 if find else 1.25
    figure = plt.figure(figsize=(2.0 * columns, height * lines + (0.6 if title else 0.25)))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.04, hspace=0.01)
    grid = figure.add_gridspec(2 * lines, columns, height_ratios=[2.6 if find else 0.01, 0.62] * lines)
    floor = s.min() - 0.06 * (np.ptp(s) or 1)
    for place, (row, knee) in enumerate(zip(s, knees.itertuples(), strict=True)):
        line, column = divmod(place, columns)
        picture = figure.add_subplot(grid[2 * line, column])
        if find:
            picture.imshow(find(knee.knee_id), **RADIOGRAPH)
        picture.set_axis_off()
        picture.set_title(f"KL{knee.kl} → KL{knee.pred}", fontsize=11.5, loc="left", pad=4)
        picture.set_title(str(knee.knee_id), fontsize=8.5, loc="right", pad=4, fontweight="normal")
        bars = figure.add_subplot(grid[2 * line + 1, column])
        colours = [ACCENT if grade == knee.pred else INK if grade == knee.kl else "#b4bdc6" for grade in GRADES]
        bars.bar(GRADES, row - floor, color=colours, width=0.72)
        bars.set(ylim=(0, s.max() - floor), yticks=[])
        bars.set_xticks(GRADES, map(str, GRADES), fontsize=9)
        bars.tick_params(length=0, pad=2)
        bars.spines[["left", "top", "right"]].set_visible(False)
        bars.spines["bottom"].set_color(FAINT)
    figure.supxlabel("similarity to the five prompts: orange the model's grade, dark the reader's", fontsize=9.5)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
