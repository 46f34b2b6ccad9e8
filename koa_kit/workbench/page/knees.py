"""Knees as HTML: one large, a page of the gallery, a row of small ones; all with bars of similarity to each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, similarities
from koa_kit.grades import GRADES
from koa_kit.style import GRADE_COLOURS
from koa_kit.workbench.page.html import part
from koa_kit.workbench.page.pictures import png, viewed
from koa_kit.workbench.state import Viewing
from koa_kit.workbench.tables import Numbers

SIDE_NAMES = {"L": "left", "R": "right", "?": "side unknown"}


def bar_scale(predictions: pd.DataFrame) -> tuple[float, float]:
    """Similarities at which a bar is empty (2nd percentile of all) and full (the largest), one scale for all knees."""
    every = np.concatenate([similarities(predictions, view).ravel() for view in VIEWS])
    return float(np.percentile(every, 2)), float(every.max())


def bars(
    numbers: Numbers, row: int, scale: tuple[float, float], prompts: Sequence[str], *, view: int = 0, mirror=False
) -> list[dict]:
    """Five bars for the template: similarity to each prompt and probability, with `mirror` also of the mirror image.

    Parameters
    ----------
    numbers, row
        Numbers of all knees, and which knee.
    scale
        Similarities at which a bar is empty and full.
    prompts
        Five texts, or none.
    view
        0 as the knee lies, 1 its mirror image.
    mirror
        Mark where the mirror image lies, and whether it gets another grade there.
    """
    low, high = scale
    shares = np.clip((numbers.s[:, row] - low) / ((high - low) or 1), 0, 1)
    pred, pred_flip = int(numbers.pred_flip[row] if view else numbers.pred[row]), int(numbers.pred_flip[row])
    made = []
    for grade in GRADES:
        s, p = numbers.s[view, row, grade], numbers.p[view, row, grade]
        words = f"KL{grade}" + (f": {prompts[grade]}" if prompts else "") + f"\nsimilarity {s:.2f}, p {p:.1%}"
        if mirror:
            words += f"\nflipped: similarity {numbers.s[1, row, grade]:.2f}, p {numbers.p[1, row, grade]:.1%}"
        role = "koa-pred" if grade == pred else "koa-true" if grade == numbers.kl[row] else ""
        width, mark = f"{100 * shares[view, grade]:.0f}", f"{98 * shares[1, grade]:.0f}" if mirror else None
        bar = {"role": role, "words": words, "width": width, "mark": mark, "wins": grade == pred_flip != pred}
        made.append(bar | {"percent": f"{100 * p:.0f}"})
    return made


def gallery_html(
    names: Sequence[str],
    numbers: Numbers,
    rows: Sequence[int],
    *,
    scale: tuple[float, float],
    find: Callable[[object], str] | None = None,
    prompts: Sequence[str] = (),
) -> str:
    """Cards of some knees that can be picked by ``knee_id``: X-ray, both grades, bars of similarity.

    Parameters
    ----------
    names, numbers
        ``knee_id`` and numbers of all knees.
    rows
        The knees of a page.
    scale
        Similarities at which a bar is empty and full.
    find
        Function from ``knee_id`` to the ``src`` of its thumbnail; omitted, numbers alone.
    prompts
        Five texts, shown on pointing at a bar.
    """
    return part.gallery(
        [
            _card(names[row], numbers, row, find) | {"bars": bars(numbers, row, scale, prompts, mirror=True)}
            for row in rows
        ]
    )


def small_knees_html(
    names: Sequence[str],
    numbers: Numbers,
    rows: Sequence[int],
    words: Sequence[str],
    find: Callable[[object], str] | None = None,
) -> str:
    """A row of small knees that can be picked, each with its grades and a word beneath, for example a cosine."""
    cards = zip(rows, words, strict=True)
    return part.small_knees([_card(names[row], numbers, row, find) | {"words": word} for row, word in cards])


def _card(name: str, numbers: Numbers, row: int, find: Callable[[object], str] | None) -> dict:
    grades = {"kl": numbers.kl[row], "pred": numbers.pred[row]}
    return {"name": name, "src": find(name) if find else "", **grades}


def knee_html(
    knees: pd.DataFrame,
    numbers: Numbers,
    row: int,
    *,
    scale: tuple[float, float],
    viewing: Viewing,
    find: Callable[[object], np.ndarray] | None = None,
    prompts: Sequence[str] = (),
    later: Sequence[tuple[int, int]] = (),
) -> str:
    """One knee beside its mirror image or the other knee, large, similarity to every prompt beneath, as HTML.

    Parameters
    ----------
    knees, numbers, row
        Predictions table, its numbers, and which of its knees.
    scale, prompts
        As for `gallery_html`.
    viewing
        Window, level and inversion of the radiographs.
    find
        Function from ``knee_id`` to its radiograph, uint8 ``(H, W)``; omitted, only numbers are shown, and why.
    later
        (months, grade) of later visits.
    """

    def view_of(place: int | None, view: int, title: str) -> dict:
        if place is None:
            return {"title": title, "knee": "", "src": "", "bars": []}
        name, pred = knees["knee_id"].iat[place], (numbers.pred_flip if view else numbers.pred)[place]
        pixels = viewed(find(name), viewing) if find else None
        src = "" if pixels is None else png(pixels[:, ::-1] if view else pixels)
        shown = bars(numbers, place, scale, prompts, view=view)
        return {"title": title, "knee": str(name), "pred": pred, "src": src, "bars": shown}

    views = [view_of(row, 0, "as it lies")]
    if viewing.beside == "mirror":
        views.append(view_of(row, 1, "mirror image"))
    else:
        other = other_knee(knees, row)
        title = "no other knee of this patient" if other is None else f"the other knee, reader KL{numbers.kl[other]}"
        views.append(view_of(other, 0, title))
    name, side, kl = str(knees["knee_id"].iat[row]), str(knees["side"].iat[row]), int(numbers.kl[row])
    lead = f"{name} · {SIDE_NAMES.get(side, side)} knee · reader KL{kl}, model KL{numbers.pred[row]}"
    visits = [
        {"years": months // 12, "grade": grade, "colour": GRADE_COLOURS[grade]}
        for months, grade in ([(0, kl), *later] if later else [])
    ]
    return part.knee(lead, visits, views)


def other_knee(predictions: pd.DataFrame, row: int) -> int | None:
    """Row of the same patient's other knee; ``None`` where it is not in the table."""
    patient = predictions["patient"].to_numpy() == predictions["patient"].iat[row]
    patient[row] = False
    return int(patient.argmax()) if patient.any() else None
