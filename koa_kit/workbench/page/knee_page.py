"""One knee, large: both views, the patient's other knee, what the prompts answer, its likes, and what became of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.style import GRADE_COLOURS
from koa_kit.workbench.page.cards import SIDE_NAMES, bars_html

if TYPE_CHECKING:
    from koa_kit.workbench.numbers import Numbers

FULL_WINDOW = 256
BESIDE = {"mirror": "its mirror image", "other": "the patient's other knee"}


@dataclass(frozen=True)
class Viewing:
    """How radiographs are shown.

    Attributes
    ----------
    level, window
        Grey level in the middle, 0 to 255, and number of grey levels from black to white, 1 to 256: a narrow window
        shows small differences.
    inverted
        Show bone dark.
    beside
        What stands beside the knee: one of `BESIDE`.

    Raises
    ------
    KoaError
        If a number is out of range.
    """

    level: float = 127.5
    window: float = FULL_WINDOW
    inverted: bool = False
    beside: str = "mirror"

    def __post_init__(self):
        if not 0 <= self.level <= 255 or not 1 <= self.window <= FULL_WINDOW:
            raise KoaError(
                "The window shows no radiograph.",
                where=f"level {self.level}, window {self.window}",
                remedy="A level is 0 to 255, a window 1 to 256 grey levels wide.",
            )
        if self.beside not in BESIDE:
            known = ", ".join(BESIDE)
            raise KoaError(f"Nothing called {self.beside!r} stands beside a knee.", remedy=f"Choose from {known}.")


def viewed(pixels: np.ndarray, viewing: Viewing) -> np.ndarray:
    """Radiograph uint8 ``(H, W)`` as it is shown: black below the window, white above it, a straight line between."""
    low = viewing.level - (viewing.window - 1) / 2
    levels = (np.arange(256) - low) / max(viewing.window - 1, 1e-6)
    shown = np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8)
    return (255 - shown if viewing.inverted else shown)[np.asarray(pixels, np.uint8)]


def png(pixels: np.ndarray) -> str:
    """Data URI of a PNG, uint8 ``(H, W)``, every pixel as it is."""
    from PIL import Image

    buffer = io.BytesIO()
    # the fastest level: a file that lives for one look need not be small
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def other_knee(predictions: pd.DataFrame, row: int) -> int | None:
    """Row of the same patient's other knee; ``None`` where it is not in the table."""
    patient = predictions["patient"].to_numpy() == predictions["patient"].iat[row]
    patient[row] = False
    return int(patient.argmax()) if patient.any() else None


def later_grades(predictions: pd.DataFrame, followup: pd.DataFrame | None = None) -> dict[str, list[tuple[int, int]]]:
    """``knee_id`` to (months, KL grade) of later visits, in order; a knee without any is not in it.

    Parameters
    ----------
    predictions
        Predictions table.
    followup
        Table of visits, from `koa_kit.data.load_followup` (real knees), or a cohort's table with ``knee_id`` and
        ``kl_12``, ``kl_24`` and so on (phantoms); omitted, nothing is known.

    Raises
    ------
    KoaError
        If the table is neither.
    """
    if followup is None:
        return {}
    visits = {name: int(name[3:]) for name in followup if name.startswith("kl_") and name[3:].isdigit()}
    if "knee_id" in followup and visits:
        wanted = followup[followup["knee_id"].isin(predictions["knee_id"])]
        columns = [(months, wanted[name].to_numpy()) for name, months in sorted(visits.items(), key=lambda v: v[1])]
        return {
            str(knee): [(months, int(values[row])) for months, values in columns]
            for row, knee in enumerate(wanted["knee_id"])
        }
    if not {"patient", "side", "months", "kl"} <= set(followup):
        raise KoaError(
            "The table tells no later grades.",
            where="followup",
            remedy="Pass load_followup(), or the table of a cohort of phantoms.",
        )
    later = followup[followup["months"] > 0].sort_values("months", kind="stable")
    visits_of = later.groupby([later["patient"].astype(str), "side"], sort=False)[["months", "kl"]]
    told = {place: list(map(tuple, found.to_numpy(int).tolist())) for place, found in visits_of}
    places = zip(predictions["knee_id"], predictions["patient"].astype(str), predictions["side"], strict=True)
    return {str(knee): told[patient, side] for knee, patient, side in places if (patient, side) in told}


def knee_html(
    predictions: pd.DataFrame,
    numbers: Numbers,
    row: int,
    *,
    scale: tuple[float, float],
    find: Callable[[object], np.ndarray] | None = None,
    viewing: Viewing = Viewing(),
    prompts: Sequence[str] = (),
    later: Sequence[tuple[int, int]] = (),
) -> str:
    """One knee beside its mirror image or the other knee, large, similarity to every prompt beneath, as HTML.

    Parameters
    ----------
    predictions, numbers, row
        Predictions table, its numbers, and which of its knees.
    scale
        Similarities at which a bar is empty and full; see `koa_kit.workbench.page.cards.bar_scale`.
    find
        Function from ``knee_id`` to its radiograph, uint8 ``(H, W)``; omitted, only numbers are shown, and why.
    viewing
        Window, level and inversion of the radiographs.
    prompts
        Five texts, shown on pointing at a bar.
    later
        (months, grade) of later visits.
    """
    name, kl, pred = escape(str(predictions["knee_id"].iat[row])), int(numbers.kl[row]), int(numbers.pred[row])
    other = other_knee(predictions, row) if viewing.beside == "other" else None
    shown = [(row, 0, "as it lies"), (row, 1, "mirror image")]
    if viewing.beside == "other":
        told = "no other knee of this patient" if other is None else f"the other knee, reader KL{numbers.kl[other]}"
        shown[1] = (other, 0, told)
    how = (scale, find, viewing, prompts)
    views = [_large(predictions, numbers, place, view, title, *how) for place, view, title in shown]
    head = (
        f'<p class="koa-say">{name} · {_side(predictions, row)} knee · reader KL{kl}, model KL{pred}</p>'
        f'<p class="koa-soft">{later_html(kl, later)}</p>'
    )
    return f'<div class="koa-ex">{head}<div class="koa-pair">{"".join(views)}</div></div>'


def _side(predictions: pd.DataFrame, row: int) -> str:
    side = str(predictions["side"].iat[row])
    return escape(SIDE_NAMES.get(side, side))


def _large(predictions, numbers, row: int | None, view: int, title: str, scale, find, viewing, prompts) -> str:
    """One view of one knee: a title with the model's grade, the radiograph, bars; an empty place for no knee."""
    if row is None:
        nothing = '<div class="koa-nopicture">Nothing to show</div>'
        return f'<div class="koa-large"><div class="koa-name">{title}</div>{nothing}</div>'
    pred = int((numbers.pred_flip if view else numbers.pred)[row])
    picture = '<div class="koa-nopicture">No X-ray at hand</div>'
    if find:
        knee = predictions["knee_id"].iat[row]
        pixels = viewed(find(knee), viewing)
        picture = f'<img src="{png(pixels[:, ::-1] if view else pixels)}" alt="{title}: knee {escape(str(knee))}">'
    bars = bars_html((numbers.s[view][row], numbers.p[view][row]), None, scale, int(numbers.kl[row]), pred, prompts)
    head = f'<div class="koa-name">{title} <span>KL{pred}</span></div>'
    return f'<div class="koa-large">{head}{picture}{bars}</div>'


def later_html(kl: int, later: Sequence[tuple[int, int]]) -> str:
    """The grades of later visits as coloured steps, the present one first; a sentence where none is known."""
    if not later:
        return "Later grades: not known."
    steps = "".join(
        f'<span class="koa-visit" style="border-color:{GRADE_COLOURS[grade]}">'
        f"{months // 12}&#8239;y <b>KL{grade}</b></span>"
        for months, grade in [(0, kl), *later]
    )
    return f"Later grades: {steps}"


def small_knees_html(
    predictions: pd.DataFrame,
    rows: Sequence[int],
    words: Sequence[str],
    *,
    find: Callable[[object], str] | None = None,
) -> str:
    """A row of small knees that can be picked, each with its grades and a word beneath, for example a cosine."""
    cards = []
    for row, word in zip(rows, words, strict=True):
        knee, kl, pred = (predictions[column].iat[row] for column in ("knee_id", "kl", "pred"))
        name = escape(str(knee))
        picture = f'<img src="{find(knee)}" alt="X-ray of knee {name}">' if find else ""
        cards.append(
            f'<figure class="koa-small" data-pick="{name}">{picture}'
            f"<figcaption><b>{name}</b><br>KL{kl} → KL{pred}<br>{escape(word)}</figcaption></figure>"
        )
    return f'<div class="koa-ex"><div class="koa-smalls">{"".join(cards)}</div></div>'
