"""What the workbench shows, as a frozen record, and the tables that follow from it: pure functions, no widget."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from koa_kit.error_analysis.decisions.decide import Decision, decided
from koa_kit.error_analysis.gallery import SORTS, order_of
from koa_kit.error_analysis.statistics.comparison import aligned
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.numbers import Numbers, numbers_of
from koa_kit.workbench.page.knee_page import Viewing
from koa_kit.workbench.selection.filters import Filters

MATRICES = {
    "counts": "knees",
    "row": "% of the reader's grade",
    "column": "% of the model's grade",
    "change": "change from the original",
}
"""What a cell of the confusion matrix may show."""

PAGE = 8
"""Knees on a page of the gallery: two rows of four."""


@dataclass(frozen=True)
class WorkbenchState:
    """What an analyst has chosen.

    Attributes
    ----------
    filters
        Which knees count.
    decision
        How logits become grades.
    matrix
        One of `MATRICES`.
    true, pred
        The cell of the matrix whose knees are shown; ``pred`` ``None`` for a whole row, both ``None`` for all knees.
    sort
        One of `koa_kit.error_analysis.gallery.SORTS`.
    page
        Of the gallery, from 0.
    knee
        ``knee_id`` of the knee shown large; "" for the first of the gallery.
    viewing
        Window, level and inversion of radiographs shown large.

    Raises
    ------
    KoaError
        If a choice does not exist.
    """

    filters: Filters = field(default_factory=Filters)
    decision: Decision = field(default_factory=Decision)
    matrix: str = "counts"
    true: int | None = 1
    pred: int | None = None
    sort: str = "closest"
    page: int = 0
    knee: str = ""
    viewing: Viewing = field(default_factory=Viewing)

    def __post_init__(self):
        for name in ("true", "pred"):
            if getattr(self, name) is not None and getattr(self, name) not in GRADES:
                raise KoaError(f"There is no grade {getattr(self, name)!r}.", remedy="Grades are 0 to 4.")
        for name, known in (("matrix", MATRICES), ("sort", SORTS)):
            if getattr(self, name) not in known:
                raise KoaError(f"There is no {name} {getattr(self, name)!r}.", remedy=f"Choose from {list(known)}.")
        if self.page < 0:
            raise KoaError(f"There is no page {self.page!r}.", remedy="Pages count from 0.")

    def change(self, **changes) -> WorkbenchState:
        """State with these attributes changed; where other knees are chosen, the gallery starts on its first page."""
        new = replace(self, **changes)
        if changes.keys() & {"filters", "decision", "true", "pred", "sort"} and "page" not in changes:
            new = replace(new, page=0)
        return new


class Tables:
    """Tables that follow from a state, each computed once: what is asked twice is remembered until its cause changes.

    Parameters
    ----------
    predictions
        Predictions table as the model made it.
    baseline
        What "change from the original" compares with; omitted, `predictions` themselves.

    Raises
    ------
    KoaError
        If the baseline is not of the same knees.
    """

    def __init__(self, predictions: pd.DataFrame, baseline: pd.DataFrame | None = None):
        self.predictions = self.worded = predictions
        self.baseline = predictions if baseline is None else aligned(predictions, baseline, names=("run", "baseline"))
        self._before = numbers_of(self.baseline)
        self.row_of = {str(knee): row for row, knee in enumerate(predictions["knee_id"])}
        self.names = predictions["knee_id"].astype(str).to_numpy()
        self._decided: tuple = (None, None, None)
        self._numbers: tuple = (None, None)
        self._undecided: tuple = (None, None)
        self._mask: tuple = (None, None, None)

    def reword(self, worded: pd.DataFrame) -> None:
        """From now on the model's answers are these: the same knees under other words, row for row."""
        self.worded = worded

    def graded(self, state: WorkbenchState) -> pd.DataFrame:
        """All knees as they are graded under the state's words and decision."""
        worded, decision, table = self._decided
        if worded is not self.worded or decision != state.decision:
            plain = state.decision == Decision()
            table = self.worded if plain else decided(self.worded, state.decision)
            self._decided = (self.worded, state.decision, table)
        return table

    def numbers(self, state: WorkbenchState) -> Numbers:
        """Grades, similarities and probabilities of all knees, as `graded`."""
        table = self.graded(state)
        if self._numbers[0] is not table:
            self._numbers = (table, numbers_of(table))
        return self._numbers[1]

    def undecided(self) -> Numbers:
        """The same before any decision: as the model and the present words have it."""
        if self._undecided[0] is not self.worded:
            self._undecided = (self.worded, numbers_of(self.worded))
        return self._undecided[1]

    def mask(self, state: WorkbenchState) -> np.ndarray:
        """Which knees pass the state's filters, bool ``(N,)``; filters see the grades as they are decided now."""
        table = self.graded(state)
        seen, filters, mask = self._mask
        if seen is not table or filters != state.filters:
            mask = state.filters.mask(table)
            self._mask = (table, state.filters, mask)
        return mask

    def shown(self, state: WorkbenchState) -> pd.DataFrame:
        """The knees that pass, as they are graded now."""
        return self.graded(state)[self.mask(state)]

    def counts(self, state: WorkbenchState) -> np.ndarray:
        """Confusion counts int ``(5, 5)`` of the knees that pass, reader by model."""
        numbers = self.numbers(state)
        return _counts(numbers.kl, numbers.pred, self.mask(state))

    def change(self, state: WorkbenchState) -> np.ndarray:
        """Those counts minus those of the baseline on the same knees."""
        before = self._before
        return self.counts(state) - _counts(before.kl, before.pred, self.mask(state))

    def chosen(self, state: WorkbenchState) -> np.ndarray:
        """Rows of the knees of the chosen cell that pass, in the state's order; perhaps none."""
        numbers, chosen = self.numbers(state), self.mask(state).copy()
        for grades, grade in ((numbers.kl, state.true), (numbers.pred, state.pred)):
            if grade is not None:
                chosen &= grades == grade
        rows = np.flatnonzero(chosen)
        (s, _), (p, p_flip) = numbers.s[:, rows], numbers.p[:, rows]
        return rows[order_of(s, p, p_flip, numbers.pred[rows], state.sort)]

    def row(self, state: WorkbenchState, page: np.ndarray) -> int | None:
        """Row, among all knees, of the knee shown large: the chosen one, else the first of the gallery's page."""
        if state.knee in self.row_of:
            return self.row_of[state.knee]
        return int(page[0]) if len(page) else None


def page_count(knees: int) -> int:
    """Number of pages that many knees take, at least 1."""
    return max(1, -(-knees // PAGE))


def page_of(chosen: np.ndarray, page: int) -> np.ndarray:
    """The rows of one page; one past the end is the last."""
    page = min(page, page_count(len(chosen)) - 1)
    return chosen[page * PAGE : (page + 1) * PAGE]


def _counts(kl: np.ndarray, pred: np.ndarray, mask: np.ndarray) -> np.ndarray:
    k = len(GRADES)
    return np.bincount(kl[mask] * k + pred[mask], minlength=k * k).reshape(k, k)
