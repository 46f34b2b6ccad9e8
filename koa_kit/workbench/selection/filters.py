"""Which knees to look at: conditions on a predictions table as a frozen record, asked as boolean masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import margin
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.selection.conditions import condition_of, kind_of, meets, unanswerable

EXPOSURE_COLUMNS = ("exposure", "brightness", "mean_grey")
"""Names under which a table may tell how bright a film is, the first that is there and numeric counts."""

SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Filters:
    """Conditions a knee must all meet; one left out lets every knee pass, and what does not fit a table is a problem.

    A range goes from the first number up to, not including, the second; ``None`` leaves an end open. A condition on a
    column is ``(column, operator, value)``, see `koa_kit.workbench.selection.conditions`.
    """

    sides: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    inverted: bool | None = None  # the file's grey values were inverted
    exposure: tuple[float | None, float | None] | None = None  # one of `EXPOSURE_COLUMNS`
    margin: tuple[float | None, float | None] | None = None  # as by `koa_kit.error_analysis.predictions.margin`
    right: bool | None = None  # the model gave the reader's grade
    columns: tuple[tuple[str, str, object], ...] = ()

    def __post_init__(self):
        for name in ("sides", "splits"):
            values = getattr(self, name)
            values = tuple(values) if pd.api.types.is_list_like(values) else (values,)
            object.__setattr__(self, name, tuple(map(str, values)))
        for name in ("inverted", "right"):
            if getattr(self, name) not in (None, True, False):
                raise KoaError(f"{getattr(self, name)!r} is not yes or no.", where=name, remedy="Give True or False.")
        for name in ("exposure", "margin"):
            object.__setattr__(self, name, _range(getattr(self, name), name))
        object.__setattr__(self, "columns", tuple(map(condition_of, self.columns)))

    def _conditions(self) -> Iterator[tuple[str, tuple[str, ...], Callable[[pd.DataFrame], object]]]:
        """Of each condition the words, the columns it needs, and the mask of a table that has them."""
        if self.sides:
            sides = " or ".join(SIDES.get(side, f"side {side}") for side in self.sides)
            yield f"{sides} knees", ("side",), lambda table: table["side"].isin(self.sides)
        if self.splits:
            yield f"split {' or '.join(self.splits)}", ("split",), lambda table: table["split"].isin(self.splits)
        if self.right is not None:
            words = "model right" if self.right else "model wrong"
            yield words, ("kl", "pred"), lambda table: (table["kl"] == table["pred"]) == self.right
        if self.inverted is not None:
            words = "inverted" if self.inverted else "not inverted"
            yield words, ("inverted",), lambda table: table["inverted"] == self.inverted
        if exposure := self.exposure:
            yield f"exposure {_between(*exposure)}", (), lambda table: _within(_exposure(table), exposure)
        if margins := self.margin:
            needs = (*(f"s{grade}" for grade in GRADES), "pred")
            yield f"margin {_between(*margins)}", needs, lambda table: _within(margin(table), margins)
        for column, operator, value in self.columns:
            said = "" if value is None else f" {value:g}" if isinstance(value, float) else f" {value}"
            yield f"{column} {operator}{said}".rstrip(), (column,), partial(_meets, column, operator, value)

    def mask(self, predictions: pd.DataFrame) -> np.ndarray:
        """Whether each knee meets every condition, bool ``(N,)``; `KoaError` for one that this table cannot answer."""
        met = np.ones(len(predictions), bool)
        for _, needs, passes in self._conditions():
            if missing := [name for name in needs if name not in predictions]:
                raise unanswerable(f"There is no column {missing[0]!r}.")
            met &= pd.array(passes(predictions), copy=False).to_numpy(bool, na_value=False)
        return met

    def describe(self) -> str:
        """The conditions in words, such as "right knees, margin under 0.5, patient contains 90"; else "all knees"."""
        return ", ".join(words for words, _, _ in self._conditions()) or "all knees"


def exposure_column(predictions: pd.DataFrame) -> str | None:
    """The first of `EXPOSURE_COLUMNS` that this table has as numbers; ``None`` if it has none."""
    there = (name for name in EXPOSURE_COLUMNS if name in predictions and kind_of(predictions[name]) == "number")
    return next(there, None)


def _exposure(predictions: pd.DataFrame) -> np.ndarray:
    column = exposure_column(predictions)
    if column is None:
        names = " or ".join(EXPOSURE_COLUMNS)
        raise unanswerable(f"No column of numbers tells the exposure: none is called {names}.")
    return predictions[column].to_numpy(float, na_value=np.nan)


def _range(ends: object, where: str) -> tuple[float | None, float | None] | None:
    if ends is None:
        return None
    low, high = ends if isinstance(ends, Sequence) and len(ends) == 2 else (math.nan, math.nan)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if not all(isinstance(end, Real) for end in (low, high)) or not low <= high:
        raise KoaError(f"{ends!r} is no range.", where=where, remedy="Give (lowest, below), None for an open end.")
    low, high = (None if math.isinf(end) else float(end) for end in (low, high))
    return None if low is high is None else (low, high)


def _meets(column: str, operator: str, value: object, table: pd.DataFrame) -> np.ndarray:
    return meets(table[column], operator, value)


def _within(values: np.ndarray, ends: tuple[float | None, float | None]) -> np.ndarray:
    low, high = ends
    return (values >= (-math.inf if low is None else low)) & (values < (math.inf if high is None else high))


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"under {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to under {high:g}"
