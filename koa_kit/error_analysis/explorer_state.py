"""What the explorer shows, as a frozen record, and the knees it stands for: pure functions, no widget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from koa_kit.error_analysis.gallery import SORTS, in_cell
from koa_kit.errors import KoaError
from koa_kit.style import GRADES

ALL_SIDES = "all"
SIDE_NAMES = {ALL_SIDES: "both sides", "L": "left", "R": "right", "?": "side unknown"}
PAGE = 12
"""Knees on a page; half as many when the flipped views stand beside them, so that the page keeps its height."""


@dataclass(frozen=True)
class ExplorerState:
    """A cell (or row) of the confusion matrix and how its knees are shown.

    Attributes
    ----------
    true
        The reader's grade, 0 to 4.
    pred
        The model's grade, or ``None`` for all knees of the row.
    sort
        One of `koa_kit.error_analysis.gallery.SORTS`.
    side
        "all", or a value of the column ``side``.
    page
        From 0.
    show_flip
        Put the mirror image beside each knee.

    Raises
    ------
    KoaError
        If a grade, the sort or the page cannot be.
    """

    true: int = 1
    pred: int | None = None
    sort: str = "closest"
    side: str = ALL_SIDES
    page: int = 0
    show_flip: bool = False

    def __post_init__(self):
        if self.true not in GRADES or (self.pred is not None and self.pred not in GRADES):
            raise KoaError(f"There is no cell ({self.true!r}, {self.pred!r}).", remedy="Grades are 0 to 4.")
        if self.sort not in SORTS:
            raise KoaError(f"Knees cannot be sorted by {self.sort!r}.", remedy=f"Choose from {', '.join(SORTS)}.")
        if self.page < 0:
            raise KoaError(f"There is no page {self.page!r}.", remedy="Pages count from 0.")

    @property
    def page_size(self) -> int:
        """Knees on a page."""
        return PAGE // 2 if self.show_flip else PAGE

    def change(self, **changes) -> ExplorerState:
        """State with these attributes changed; other knees start on the first page, flipping keeps the first knee."""
        new = replace(self, **changes)
        if "page" in changes or new == self:
            return new
        same_knees = changes.keys() <= {"show_flip"}
        return replace(new, page=self.page * self.page_size // new.page_size if same_knees else 0)


def initial_state(predictions: pd.DataFrame) -> ExplorerState:
    """State at the commonest mistake about KL1; without one, at the commonest mistake, else at the fullest cell."""
    counts = cell_counts(predictions)
    wrong = counts * (1 - np.eye(len(GRADES), dtype=int))
    only_kl1 = np.where(np.arange(len(GRADES))[:, None] == 1, wrong, 0)
    chosen = next(table for table in (only_kl1, wrong, counts) if table.any())
    true, pred = np.unravel_index(int(chosen.argmax()), chosen.shape)
    return ExplorerState(int(true), int(pred))


def sides(predictions: pd.DataFrame) -> list[str]:
    """ "all" and the sides that occur."""
    return [ALL_SIDES, *sorted(predictions["side"].astype(str).unique())]


def of_side(predictions: pd.DataFrame, side: str) -> pd.DataFrame:
    """Predictions of the knees of one side, or all.

    Raises
    ------
    KoaError
        If no knee is of that side.
    """
    if side not in sides(predictions):
        raise KoaError(f"There is no side {side!r}.", remedy=f"Choose from {', '.join(sides(predictions))}.")
    return predictions if side == ALL_SIDES else predictions[predictions["side"].astype(str) == side]


def cell_counts(predictions: pd.DataFrame, side: str = ALL_SIDES) -> np.ndarray:
    """Confusion counts, int ``(5, 5)``, reader by model, of the knees of one side."""
    knees, k = of_side(predictions, side), len(GRADES)
    cell = knees["kl"].to_numpy(int) * k + knees["pred"].to_numpy(int)
    return np.bincount(cell, minlength=k * k).reshape(k, k)


def chosen_knees(predictions: pd.DataFrame, state: ExplorerState) -> pd.DataFrame:
    """Predictions of all knees the state stands for, in its order; perhaps none."""
    return in_cell(of_side(predictions, state.side), state.true, state.pred, sort=state.sort)


def page_count(knees: int, state: ExplorerState) -> int:
    """Number of pages that many knees take, at least 1."""
    return max(1, -(-knees // state.page_size))


def on_a_page(predictions: pd.DataFrame, state: ExplorerState) -> ExplorerState:
    """State whose page exists: one past the end becomes the last."""
    return replace(state, page=min(state.page, page_count(len(chosen_knees(predictions, state)), state) - 1))


def headline(predictions: pd.DataFrame, state: ExplorerState) -> str:
    """What is chosen, as one sentence: the cell, its knees and their share of the row."""
    row = cell_counts(predictions, state.side)[state.true]
    whose = "" if state.side == ALL_SIDES else f" ({SIDE_NAMES.get(state.side, state.side)})"
    total = f"{row.sum():,} KL{state.true} knee{'' if row.sum() == 1 else 's'}{whose}"
    if state.pred is None:
        return f"All {total}: {row[state.true]:,} graded as the reader did."
    share = f", {row[state.pred] / row.sum():.0%}" if row.sum() else ""
    return f"KL{state.true} graded KL{state.pred}: {row[state.pred]:,} of {total}{share}."


def advice(predictions: pd.DataFrame, state: ExplorerState) -> str:
    """What to do when no knee is chosen; "" when there is one."""
    if len(chosen_knees(predictions, state)):
        return ""
    everywhere = chosen_knees(predictions, replace(state, side=ALL_SIDES))
    if len(everywhere):
        return f"No such knee on this side, but {len(everywhere)} on the other: choose “{SIDE_NAMES[ALL_SIDES]}”."
    if not (predictions["kl"] == state.true).any():
        return f"No knee here was graded KL{state.true} by the reader: pick another row."
    return f"The model graded no KL{state.true} knee KL{state.pred}: pick a cell with a number."
