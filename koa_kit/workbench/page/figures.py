"""The numbers of the page as HTML: scores, confusion matrix, and one sentence about what is chosen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import GRADE_COLOURS, INK, PAPER
from koa_kit.workbench.page.html import FULL_SHADE, part
from koa_kit.workbench.selection.scores import scores_of
from koa_kit.workbench.state import MATRICES, PAGE, WorkbenchState
from koa_kit.workbench.tables import page_count

SCORES = ("accuracy", "qwk", "kl1_recall", "kl1_precision")
DRAWS = 300


def scores_html(shown: pd.DataFrame, filters: str, total: int) -> str:
    """Scores of the knees that pass, perhaps none, of `total` knees, with intervals over patients; filters in words."""
    found = scores_of(shown, SCORES, draws=DRAWS)
    cells = []
    for row in found.itertuples():
        value, low, high = (in_units(number, row.metric) for number in (row.value, row.low, row.high))
        cells.append((value, METRIC_LABELS[row.metric], "" if np.isnan(row.low) else f"{low} to {high}"))
    knees, patients = found["n_knees"].iat[0], found["n_patients"].iat[0]
    return part.scores(cells, f"{knees:,} of {total:,} knees, {patients:,} patients: {filters}")


def in_units(value: float, metric: str, form: str = "") -> str:
    """A score as it is read, QWK as a number and shares in per cent; a dash for nan."""
    if np.isnan(value):
        return "–"
    return f"{value:{form}.3f}" if metric == "qwk" else f"{100 * value:{form}.1f} %"


def shade(share: float) -> tuple[str, str]:
    """Background and text colour of a matrix cell that holds this share, 0 to 1, of its row."""
    low, high = (np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) for colour in ("#f3f6f9", FULL_SHADE))
    mixed = np.rint(low + (high - low) * share).astype(int)
    return "#{:02x}{:02x}{:02x}".format(*mixed), PAPER if share > 0.5 else INK


def matrix_html(counts: np.ndarray, change: np.ndarray, state: WorkbenchState) -> str:
    """The confusion matrix as a table whose cells and rows can be picked (``data-pick`` "1,2" or "1,").

    `counts` are knees, `change` knees more than in the baseline, int ``(5, 5)``, reader by model.
    """
    rows = []
    for true in GRADES:
        row = {"grade": true, "label": grade_label(true), "colour": GRADE_COLOURS[true]}
        cells = [_cell(counts, change, state.matrix, true, pred) for pred in GRADES]
        rows.append(row | {"knees": f"{counts[true].sum():,}", "cells": cells})
    return part.matrix(MATRICES[state.matrix], rows)


def _cell(counts: np.ndarray, change: np.ndarray, shown: str, true: int, pred: int) -> dict[str, str]:
    count, of_row, of_column = int(counts[true, pred]), int(counts[true].sum()), int(counts[:, pred].sum())
    share = count / max(1, of_column if shown == "column" else of_row)
    text = "·" if not count else f"{100 * share:.0f}" if shown in ("row", "column") else f"{count:,}"
    if shown == "change":
        moved = int(change[true, pred])
        share = min(1.0, abs(moved) / max(1, abs(change).max())) * 0.45
        # gains and losses differ by sign and by weight, not by colour alone
        text = Markup(f"<b>+{moved}</b>") if moved > 0 else f"−{-moved}" if moved else "·"
    paper, ink = shade(share)
    words = f"reader KL{true}, model KL{pred}: {count:,} knees, {_of(count, of_row)} of KL{true}'s"
    return {"text": text, "words": words, "paper": paper, "ink": ink}


def _of(count: int, whole: int) -> str:
    return f"{count / whole:.0%}" if whole else "none"


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
        return part.empty("No knee passes the filters: take one away, or press “all knees”.")
    if state.true is not None and not counts[state.true].sum():
        none = f"No knee that passes was called KL{state.true} by the reader"
        return part.empty(f"{none}: pick another row, or change the filters.")
    return part.empty("No such knee: pick a cell with a number.")


def pages_text(knees: int, page: int) -> str:
    """Where in the gallery one is, such as "9 to 16 of 130"."""
    if not knees:
        return "no knees"
    page = min(page, page_count(knees) - 1)
    return f"{page * PAGE + 1:,} to {min(knees, (page + 1) * PAGE):,} of {knees:,}"


def error_html(error: Exception) -> str:
    """An error as a reader sees it in the page."""
    return part.error(str(error) if isinstance(error, KoaError) else f"{type(error).__name__}: {error}")
