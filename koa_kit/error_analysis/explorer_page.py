"""The explorer's state as HTML that needs no script, no network and no kernel; every text in it is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape

import numpy as np
import pandas as pd

from koa_kit.error_analysis.explorer_state import (
    SIDE_NAMES,
    ExplorerState,
    advice,
    cell_counts,
    chosen_knees,
    headline,
    page_count,
)
from koa_kit.error_analysis.explorer_style import FULL_SHADE, STYLE, THUMB
from koa_kit.error_analysis.gallery import SORTS, image_finder
from koa_kit.error_analysis.predictions import VIEWS, probabilities, similarities
from koa_kit.style import GRADE_COLOURS, GRADES, INK, PAPER, grade_label

GREY_LEVELS = 32


def thumbnail(pixels: np.ndarray) -> str:
    """PNG data URI of an X-ray, uint8 ``(H, W)``, longest side at most `THUMB` pixels, `GREY_LEVELS` levels of grey."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    step = 256 // GREY_LEVELS
    levels = np.asarray(picture) // step * step + np.asarray(picture) // step * step // (256 - step) * (step - 1)
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail_finder(images, predictions: pd.DataFrame) -> Callable[[object], str] | None:
    """Function from a ``knee_id`` to its thumbnail, remembered; ``None`` without images."""
    if images is None:
        return None
    find = image_finder(images, predictions)
    return lru_cache(maxsize=512)(lambda knee: thumbnail(find(knee)))


def shade(share: float) -> tuple[str, str]:
    """Background and text colour of a matrix cell that holds this share, 0 to 1, of its row."""
    low, high = (np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) for colour in ("#f3f6f9", FULL_SHADE))
    mixed = np.rint(low + (high - low) * share).astype(int)
    return "#{:02x}{:02x}{:02x}".format(*mixed), PAPER if share > 0.5 else INK


def matrix_html(predictions: pd.DataFrame, state: ExplorerState) -> str:
    """The confusion matrix as an HTML table, shaded by share of the row, the chosen cell or row framed."""
    counts = cell_counts(predictions, state.side)
    rows = []
    for true in GRADES:
        cells = []
        for pred in GRADES:
            paper, ink = shade(counts[true, pred] / max(1, counts[true].sum()))
            on = ' class="koa-on"' if (true, pred) == (state.true, state.pred) else ""
            cells.append(f'<td{on} style="background:{paper};color:{ink}">{counts[true, pred] or "·"}</td>')
        on = ' class="koa-on"' if true == state.true and state.pred is None else ""
        dot = f'<i class="koa-dot" style="background:{GRADE_COLOURS[true]}"></i>'
        rows.append(f"<tr><th{on}>{dot}{grade_label(true)}</th>{''.join(cells)}</tr>")
    heads = "".join(f"<th>KL{grade}</th>" for grade in GRADES)
    return (
        '<table class="koa-cm" aria-label="confusion matrix"><thead><tr><th>reader ↓ model →</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def gallery_html(
    predictions: pd.DataFrame,
    state: ExplorerState,
    *,
    find: Callable[[object], str] | None = None,
    prompts: Sequence[str] = (),
) -> str:
    """The page of knees the state stands for: X-ray, similarity bars, probabilities; or what to do if there is none.

    Parameters
    ----------
    find
        Function from ``knee_id`` to the ``src`` of its thumbnail; omitted, the page says how to get X-rays.
    prompts
        Five texts, shown on pointing at a bar.
    """
    say = advice(predictions, state)
    if say:
        return f'<div class="koa-ex"><div class="koa-empty">{escape(say)}</div></div>'
    knees = chosen_knees(predictions, state)
    knees = knees.iloc[state.page * state.page_size : (state.page + 1) * state.page_size]
    scale = bar_scale(predictions)
    numbers = [(similarities(knees, view), probabilities(knees, view)) for view in VIEWS]
    cards = "".join(
        _card(knee, [(s[row], p[row]) for s, p in numbers], scale, state.show_flip, find, prompts)
        for row, knee in enumerate(knees.itertuples())
    )
    legend = [
        '<span><i class="koa-pred"></i>model’s grade</span><span><i class="koa-true"></i>reader’s grade</span>',
        "" if state.show_flip else '<span><i class="koa-mark"></i>flipped (orange: another grade)</span>',
        f"<span>bar: similarity to its prompt{' (point at it)' if prompts else ''}</span>",
        "<span>number: probability, %</span>",
        "" if find else "<span><b>No X-rays:</b> pass images=cohort</span>",
    ]
    pairs = " koa-pairs" if state.show_flip else ""
    return (
        f'<div class="koa-ex"><div class="koa-legend">{"".join(legend)}</div>'
        f'<div class="koa-grid{pairs}">{cards}</div></div>'
    )


def bar_scale(predictions: pd.DataFrame) -> tuple[float, float]:
    """Similarities at which a bar is empty (2nd percentile of all) and full (the largest), one scale for all knees."""
    every = np.concatenate([similarities(predictions, view).ravel() for view in VIEWS])
    return float(np.percentile(every, 2)), float(every.max())


def _card(knee, numbers, scale, show_flip: bool, find, prompts) -> str:
    name, side = escape(str(knee.knee_id)), escape(SIDE_NAMES.get(str(knee.side), str(knee.side)))
    picture = f'<img src="{escape(find(knee.knee_id))}" alt="X-ray of knee {name}">' if find else ""
    pred, pred_flip = knee.pred, knee.pred_flip
    mark = None if show_flip else (*numbers[1], pred_flip)
    views = _view(
        f"<b>{name}</b>{side}", knee.kl, pred, picture, _bars(numbers[0], mark, scale, knee.kl, pred, prompts)
    )
    if show_flip:
        mirrored = picture.replace("<img ", '<img class="koa-mirror" ').replace("X-ray of", "mirror image of")
        bars = _bars(numbers[1], None, scale, knee.kl, pred_flip, prompts)
        views += _view("flipped", knee.kl, pred_flip, mirrored, bars)
    return f'<figure class="koa-card">{views}</figure>'


def _view(title: str, true: int, pred: int, picture: str, bars: str) -> str:
    name = f'<div class="koa-name">{title}<span>KL{true} → KL{pred}</span></div>'
    return f'<div class="koa-view">{name}<div class="koa-row">{picture}<div class="koa-bars">{bars}</div></div></div>'


def _bars(own, flipped, scale, true: int, pred: int, prompts) -> str:
    low, high = scale
    rows = []
    for grade, (s, p) in enumerate(zip(*own, strict=True)):
        words = f"KL{grade}" + (f": {prompts[grade]}" if prompts else "") + f"\nsimilarity {s:.2f}, p {p:.1%}"
        mark = ""
        if flipped is not None:
            s_flip, p_flip = flipped[0][grade], flipped[1][grade]
            wins = ' class="koa-wins"' if grade == flipped[2] != pred else ""
            words += f"\nflipped: similarity {s_flip:.2f}, p {p_flip:.1%}"
            mark = f'<s{wins} style="left:{98 * _share(s_flip, low, high):.0f}%"></s>'
        role = "koa-pred" if grade == pred else "koa-true" if grade == true else ""
        rows.append(
            f'<div class="koa-bar {role}" title="{escape(words)}">{grade}'
            f'<u><i style="width:{100 * _share(s, low, high):.0f}%"></i>{mark}</u><em>{100 * p:.0f}</em></div>'
        )
    return "".join(rows)


def _share(s: float, low: float, high: float) -> float:
    return float(np.clip((s - low) / ((high - low) or 1), 0, 1))


def headline_html(predictions: pd.DataFrame, state: ExplorerState) -> str:
    """What is chosen and how it is ordered, as two lines."""
    knees = len(chosen_knees(predictions, state))
    pages = page_count(knees, state)
    where = f" · page {state.page + 1} of {pages}" if pages > 1 else ""
    return (
        f'<p class="koa-say">{escape(headline(predictions, state))}</p>'
        f'<p class="koa-soft">{escape(SORTS[state.sort])}{where}</p>'
    )


def prompts_html(prompts: Sequence[str]) -> str:
    """The five prompts, one line each; "" without any."""
    lines = "".join(
        f'<div class="koa-words" title="{escape(text)}"><b>KL{grade}</b>{escape(text)}</div>'
        for grade, text in enumerate(prompts)
    )
    return f'<p class="koa-soft koa-head">The prompts the knees are compared with</p>{lines}' if prompts else ""


def error_html(error: Exception) -> str:
    """An error as the reader sees it in the page."""
    return f'{STYLE}<div class="koa-ex"><div class="koa-error">{escape(f"{type(error).__name__}: {error}")}</div></div>'


def snapshot_html(
    predictions: pd.DataFrame,
    state: ExplorerState,
    *,
    find: Callable[[object], str] | None = None,
    prompts: Sequence[str] = (),
) -> str:
    """Matrix, headline and gallery of one state as a page that stays as it is; see `gallery_html`."""
    return (
        f'{STYLE}<div class="koa-ex"><div class="koa-top">{matrix_html(predictions, state)}'
        f"<div>{headline_html(predictions, state)}"
        '<p class="koa-soft">A still picture of the explorer. Run the notebook to choose other cells, '
        f"sort, turn pages and see each knee flipped.</p>{prompts_html(prompts)}</div></div></div>"
        f"{gallery_html(predictions, state, find=find, prompts=prompts)}"
    )
