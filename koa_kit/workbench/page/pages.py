"""The parts of the workbench as HTML: scores, confusion matrix, gallery; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import GRADE_COLOURS
from koa_kit.workbench.numbers import Numbers
from koa_kit.workbench.page.cards import bars_html, shade
from koa_kit.workbench.page.html import empty, wrapped
from koa_kit.workbench.selection.filters import scores_of
from koa_kit.workbench.state import MATRICES, PAGE, WorkbenchState, page_count

SCORES = ("accuracy", "qwk", "kl1_recall", "kl1_precision")
SHARES = {"accuracy", "kl1_recall", "kl1_precision"}
DRAWS = 300


def scores_html(shown: pd.DataFrame, told: str, total: int) -> str:
    """The scores of the knees that pass, each with its interval over patients and what it is counted on.

    Parameters
    ----------
    shown
        Predictions of the knees that pass, perhaps of none.
    told
        The filters in words.
    total
        Knees without filters.
    """
    found = scores_of(shown, SCORES, draws=DRAWS)
    knees, patients = int(found["n_knees"].iat[0]), int(found["n_patients"].iat[0])
    parts = []
    for row in found.itertuples():
        texts = [_number(value, row.metric) for value in (row.value, row.low, row.high)]
        span = "" if np.isnan(row.low) else f"{texts[1]} to {texts[2]}"
        label = escape(METRIC_LABELS[row.metric])
        parts.append(f'<div class="koa-score"><b>{texts[0]}</b><span>{label}</span><i>{span}</i></div>')
    whose = f"{knees:,} of {total:,} knees, {patients:,} patients: {escape(told)}"
    return (
        f'<div class="koa-ex"><div class="koa-scores">{"".join(parts)}<div class="koa-whose">{whose}<br>'
        "<i>95 % intervals over patients</i></div></div></div>"
    )


def _number(value: float, metric: str) -> str:
    if np.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if metric in SHARES else f"{value:.3f}"


def matrix_html(counts: np.ndarray, change: np.ndarray, state: WorkbenchState) -> str:
    """The confusion matrix as a table whose cells and rows can be picked (``data-pick`` "1,2" or "1,").

    Parameters
    ----------
    counts, change
        Int ``(5, 5)``, reader by model: knees, and knees more than in the baseline.
    """
    rows = []
    for true in GRADES:
        cells = "".join(_cell(counts, change, state, true, pred) for pred in GRADES)
        dot = f'<i class="koa-dot" style="background:{GRADE_COLOURS[true]}"></i>'
        head = f'<th data-pick="{true}," class="koa-row-{true}">{dot}{grade_label(true)} '
        rows.append(f"<tr>{head}<small>{counts[true].sum():,}</small></th>{cells}</tr>")
    heads = "".join(f"<th>KL{grade}</th>" for grade in GRADES)
    return (
        f'<div class="koa-ex"><table class="koa-cm" aria-label="confusion matrix, {escape(MATRICES[state.matrix])}">'
        f"<thead><tr><th>reader ↓ model →</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(counts: np.ndarray, change: np.ndarray, state: WorkbenchState, true: int, pred: int) -> str:
    count, of_row, of_column = int(counts[true, pred]), int(counts[true].sum()), int(counts[:, pred].sum())
    share = count / max(1, of_column if state.matrix == "column" else of_row)
    paper, ink = shade(share)
    text = f"{count:,}" if count else "·"
    if state.matrix in ("row", "column"):
        text = f"{100 * share:.0f}" if count else "·"
    elif state.matrix == "change":
        moved = int(change[true, pred])
        paper, ink = shade(min(1.0, abs(moved) / max(1, abs(change).max())) * 0.45)
        # gains and losses differ by sign and by weight, not by colour alone
        text = f"<b>+{moved}</b>" if moved > 0 else f"−{-moved}" if moved else "·"
    words = f"reader KL{true}, model KL{pred}: {count:,} knees, {_of(count, of_row)} of KL{true}'s"
    return (
        f'<td data-pick="{true},{pred}" class="koa-cell-{true}-{pred}" title="{words}" '
        f'style="background:{paper};color:{ink}">{text}</td>'
    )


def _of(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"


def picked_cell(value: str) -> tuple[int, int | None]:
    """Grades of the reader and of the model (or ``None`` for the row) from a ``data-pick`` such as "1,2"."""
    true, comma, pred = value.partition(",")
    if not comma or true not in set("01234") or pred not in {"", *"01234"}:
        raise KoaError(f"There is no cell {value!r}.", where="confusion matrix", remedy='A cell is such as "1,2".')
    return int(true), int(pred) if pred else None


def headline(counts: np.ndarray, state: WorkbenchState) -> str:
    """What is chosen, as one sentence."""
    if state.true is None:
        return f"All {counts.sum():,} knees" + ("" if state.pred is None else f" graded KL{state.pred} by the model")
    row = counts[state.true]
    if state.pred is None:
        return f"All {row.sum():,} knees the reader called KL{state.true}: {row[state.true]:,} graded so."
    count = int(row[state.pred])
    return f"KL{state.true} called KL{state.pred}: {count:,} of {row.sum():,} knees, {_of(count, int(row.sum()))}."


def empty_html(counts: np.ndarray, state: WorkbenchState) -> str:
    """What to do where no knee is chosen."""
    if not counts.sum():
        say = "No knee passes the filters: take one away, or press “all knees”."
    elif state.true is not None and not counts[state.true].sum():
        say = f"No knee that passes was called KL{state.true} by the reader: pick another row, or change the filters."
    else:
        say = "No such knee: pick a cell with a number."
    return empty(say)


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
    (s, s_flip), (p, p_flip) = numbers.s, numbers.p
    cards = []
    for row in rows:
        name, kl, pred = escape(names[row]), int(numbers.kl[row]), int(numbers.pred[row])
        picture = f'<img src="{find(names[row])}" alt="X-ray of knee {name}">' if find else ""
        mark = (s_flip[row], p_flip[row], int(numbers.pred_flip[row]))
        bars = bars_html((s[row], p[row]), mark, scale, kl, pred, prompts)
        cards.append(
            f'<figure class="koa-card" data-pick="{name}"><div class="koa-view"><div class="koa-name"><b>{name}</b>'
            f'<span>KL{kl} → KL{pred}</span></div><div class="koa-row">{picture}'
            f'<div class="koa-bars">{bars}</div></div></div></figure>'
        )
    return wrapped(f'<div class="koa-grid">{"".join(cards)}</div>')


def pages_text(knees: int, page: int) -> str:
    """Where in the gallery one is, such as "9 to 16 of 130"."""
    if not knees:
        return "no knees"
    page = min(page, page_count(knees) - 1)
    return f"{page * PAGE + 1:,} to {min(knees, (page + 1) * PAGE):,} of {knees:,}"


def error_html(error: Exception) -> str:
    """An error as a reader sees it in the page."""
    said = str(error) if isinstance(error, KoaError) else f"{type(error).__name__}: {error}"
    return wrapped(f'<div class="koa-error">{escape(said)}</div>')


def legend_html(with_images: bool, with_prompts: bool) -> str:
    """What the marks of the gallery mean."""
    told = [
        '<span><i class="koa-pred"></i>model’s grade</span><span><i class="koa-true"></i>reader’s grade</span>',
        '<span><i class="koa-mark"></i>mirror image (wide and orange: another grade)</span>',
        f"<span>bar: similarity to its prompt{' (point at it)' if with_prompts else ''}</span>",
        "<span>number: probability, %</span>",
        "" if with_images else "<span><b>No X-rays at hand:</b> everything else works without</span>",
    ]
    return f'<div class="koa-ex"><div class="koa-legend">{"".join(told)}</div></div>'
