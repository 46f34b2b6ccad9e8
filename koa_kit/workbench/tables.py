"""The tables that follow from predictions and what is chosen: graded knees, confusion counts, the knees of a cell."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
import pandas as pd

from koa_kit.error_analysis.decisions.decision import DecisionRule, apply_rule
from koa_kit.error_analysis.gallery import gallery_order
from koa_kit.error_analysis.metrics import count_grades
from koa_kit.error_analysis.predictions import VIEWS, probabilities, similarities
from koa_kit.error_analysis.statistics.comparison import align_predictions
from koa_kit.errors import KoaError
from koa_kit.workbench.state import PAGE, WorkbenchState


class Numbers(NamedTuple):
    """The numbers of a predictions table as arrays, which are ten times quicker to take rows from.

    Grades are int64 ``(N,)``; similarities `s` and probabilities `p` float64 ``(2, N, 5)``, the mirror image second.
    """

    kl: np.ndarray
    pred: np.ndarray
    pred_flip: np.ndarray
    s: np.ndarray
    p: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> Numbers:
        """The numbers of a predictions table."""
        kl, pred, pred_flip = (table[name].to_numpy(np.int64) for name in ("kl", "pred", "pred_flip"))
        s, p = (np.stack([values(table, view) for view in VIEWS]) for values in (similarities, probabilities))
        return cls(kl, pred, pred_flip, s, p)

    def counts(self, mask: np.ndarray) -> np.ndarray:
        """Confusion counts int ``(5, 5)`` of the knees in `mask`, reader by model."""
        return count_grades(self.kl[mask], self.pred[mask])


class Tables:
    """Tables that follow from a state, each computed once and kept until its cause changes.

    `baseline`, of the same knees, is what "change from the original" compares with; omitted, `predictions` themselves.
    """

    def __init__(self, predictions: pd.DataFrame, baseline: pd.DataFrame | None = None):
        self.predictions = self.worded = predictions
        if baseline is not None:
            baseline = align_predictions(predictions, baseline, names=("run", "baseline"))
        self._before = Numbers.of(predictions if baseline is None else baseline)
        self.row_of = {str(knee): row for row, knee in enumerate(predictions["knee_id"])}
        self.names = predictions["knee_id"].astype(str).to_numpy()
        self._kept: dict[str, tuple[Hashable, object]] = {}

    def _once(self, name: str, cause: Hashable, make: Callable[[], object]):
        """What was made last for this cause, or else made now."""
        if name not in self._kept or self._kept[name][0] != cause:
            self._kept[name] = (cause, make())
        return self._kept[name][1]

    def reword(self, worded: pd.DataFrame) -> None:
        """From now on the model's answers are these: the same knees under other words, row for row."""
        if worded is not self.worded:
            self.worded = worded
            self._kept.clear()

    def graded(self, state: WorkbenchState) -> pd.DataFrame:
        """All knees as they are graded under the state's words and decision."""
        if state.decision == DecisionRule():
            return self.worded
        return self._once("graded", state.decision, lambda: apply_rule(self.worded, state.decision))

    def numbers(self, state: WorkbenchState) -> Numbers:
        """Grades, similarities and probabilities of all knees, as `graded`."""
        return self._once("numbers", state.decision, lambda: Numbers.of(self.graded(state)))

    def undecided(self) -> Numbers:
        """The same before any decision: as the model and the present words have it."""
        return self._once("undecided", None, lambda: Numbers.of(self.worded))

    def mask(self, state: WorkbenchState) -> np.ndarray:
        """Which knees pass the state's filters, bool ``(N,)``; filters see the grades as they are decided now."""
        cause = (state.decision, state.filters)
        return self._once("mask", cause, lambda: state.filters.mask(self.graded(state)))

    def shown(self, state: WorkbenchState) -> pd.DataFrame:
        """The knees that pass, as they are graded now."""
        return self.graded(state)[self.mask(state)]

    def counts(self, state: WorkbenchState) -> np.ndarray:
        """Confusion counts int ``(5, 5)`` of the knees that pass, reader by model."""
        return self.numbers(state).counts(self.mask(state))

    def change(self, state: WorkbenchState) -> np.ndarray:
        """Those counts minus those of the baseline on the same knees."""
        return self.counts(state) - self._before.counts(self.mask(state))

    def chosen(self, state: WorkbenchState) -> np.ndarray:
        """Rows of the knees of the chosen cell that pass, in the state's order; perhaps none."""

        def in_order() -> np.ndarray:
            numbers, chosen = self.numbers(state), self.mask(state).copy()
            for grades, grade in ((numbers.kl, state.true), (numbers.pred, state.pred)):
                if grade is not None:
                    chosen &= grades == grade
            rows = np.flatnonzero(chosen)
            (s, _), (p, p_flip) = numbers.s[:, rows], numbers.p[:, rows]
            return rows[gallery_order(s, p, p_flip, numbers.pred[rows], state.sort)]

        cause = (state.decision, state.filters, state.true, state.pred, state.sort)
        return self._once("chosen", cause, in_order)

    def page(self, state: WorkbenchState) -> np.ndarray:
        """Those on the gallery's page; one past the end is the last."""
        chosen = self.chosen(state)
        page = min(state.page, page_count(len(chosen)) - 1)
        return chosen[page * PAGE : (page + 1) * PAGE]

    def row(self, state: WorkbenchState) -> int | None:
        """Row, among all knees, of the knee shown large: the chosen one, else the first of the gallery's page."""
        if state.knee in self.row_of:
            return self.row_of[state.knee]
        return next(iter(self.page(state).tolist()), None)


def page_count(knees: int) -> int:
    """Number of pages that many knees take, at least 1."""
    return max(1, -(-knees // PAGE))


def later_grades(predictions: pd.DataFrame, followup: pd.DataFrame | None = None) -> dict[str, list[tuple[int, int]]]:
    """``knee_id`` to (months, KL grade) of later visits, in order; a knee without any is not in it.

    `followup` is a table of visits from `koa_kit.data.load_followup` (real knees), or a cohort's table with ``knee_id``
    and ``kl_12``, ``kl_24`` and so on (phantoms); omitted, nothing is known.
    """
    if followup is None:
        return {}
    months = {name: int(name[3:]) for name in followup if name.startswith("kl_") and name[3:].isdigit()}
    if "knee_id" in followup and months:
        visits = followup[["knee_id", *months]].melt("knee_id", None, "months", "kl")
        visits["months"] = visits["months"].map(months)
    elif {"patient", "side", "months", "kl"} <= set(followup):
        whose = predictions[["knee_id", "side"]].assign(patient=predictions["patient"].astype(str))
        visits = followup[followup["months"] > 0].assign(patient=lambda table: table["patient"].astype(str))
        visits = visits.merge(whose, on=["patient", "side"])
    else:
        raise KoaError(
            "The table tells no later grades.",
            where="followup",
            remedy="Pass load_followup(), or the table of a cohort of phantoms.",
        )
    visits = visits[visits["knee_id"].isin(predictions["knee_id"])].sort_values("months", kind="stable")
    later: dict[str, list[tuple[int, int]]] = {}
    for knee, month, kl in visits[["knee_id", "months", "kl"]].itertuples(index=False):
        later.setdefault(str(knee), []).append((int(month), int(kl)))
    return later
