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

from koa_kit.error_analysis.workbench.cards import SIDE_NAMES, bars_html
from koa_kit.errors import KoaError
from koa_kit.style import GRADE_COLOURS

if TYPE_CHECKING:
    from koa_kit.error_analysis.workbench.state import Numbers

FULL_WINDOW = 256


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

    Raises
    ------
    KoaError
        If a number is out of range.
    """

    level: float = 127.5
    window: float = FULL_WINDOW
    inverted: bool = False

    def __post_init__(self):
        if not 0 <= self.level <= 255 or not 1 <= self.window <= FULL_WINDOW:
            raise KoaError(
                "The window shows no radiograph.",
                where=f"level {self.level}, window {self.window}",
                remedy="A level is 0 to 255, a window 1 to 256 grey levels wide.",
            )


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
    note: str = "",
) -> str:
    """One knee and its mirror image, large, with the similarity to every prompt under each, as HTML.

    Parameters
    ----------
    predictions, numbers, row
        Predictions table, its numbers, and which of its knees.
    scale
        Similarities at which a bar is empty and full; see `koa_kit.error_analysis.explorer_page.bar_scale`.
    find
        Function from ``knee_id`` to its radiograph, uint8 ``(H, W)``; omitted, only numbers are shown, and why.
    viewing
        Window, level and inversion of the radiographs.
    prompts
        Five texts, shown on pointing at a bar.
    later
        (months, grade) of later visits.
    note
        A sentence under the title; escaped.
    """
    knee, side = predictions["knee_id"].iat[row], str(predictions["side"].iat[row])
    name, kl = escape(str(knee)), int(numbers.kl[row])
    pixels = viewed(find(knee), viewing) if find else None
    grades, views = (int(numbers.pred[row]), int(numbers.pred_flip[row])), []
    for view, pred in enumerate(grades):
        picture = '<div class="koa-nopicture">No X-ray at hand</div>'
        if pixels is not None:
            shown = pixels[:, ::-1] if view else pixels
            picture = f'<img src="{png(shown)}" alt="{"mirror image" if view else "X-ray"} of knee {name}">'
        bars = bars_html((numbers.s[view][row], numbers.p[view][row]), None, scale, kl, pred, prompts)
        title = f"mirror image <span>KL{pred}</span>" if view else f"as it lies <span>KL{pred}</span>"
        views.append(f'<div class="koa-large"><div class="koa-name">{title}</div>{picture}{bars}</div>')
    side = escape(SIDE_NAMES.get(side, side))
    head = (
        f'<p class="koa-say">{name} · {side} knee · reader KL{kl}, model KL{grades[0]}</p>'
        f'<p class="koa-soft">{escape(note)}{later_html(kl, later)}</p>'
    )
    return f'<div class="koa-ex">{head}<div class="koa-pair">{"".join(views)}</div></div>'


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
