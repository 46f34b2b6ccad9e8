"""Which knees to look at: conditions on a predictions table as a frozen record, asked as boolean masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import margin
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.selection.conditions import condition_of, kind_of, meets, problem_of

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
    grades: tuple[int, ...] = ()  # of the reader
    given: tuple[int, ...] = ()  # by the model
    inverted: bool | None = None  # the file's grey values were inverted
    exposure: tuple[float | None, float | None] | None = None  # one of `EXPOSURE_COLUMNS`
    margin: tuple[float | None, float | None] | None = None  # as by `koa_kit.error_analysis.predictions.margin`
    right: bool | None = None  # the model gave the reader's grade
    columns: tuple[tuple[str, str, object], ...] = ()

    def __post_init__(self):
        for name, kind in (("sides", str), ("splits", str), ("grades", int), ("given", int)):
            values = getattr(self, name)
            values = tuple(values) if pd.api.types.is_list_like(values) else (values,)
            if kind is int and (odd := [grade for grade in values if grade not in GRADES]):
                raise KoaError(f"There is no grade {odd[0]!r}.", where=name, remedy="Grades are 0 to 4.")
            object.__setattr__(self, name, tuple(map(kind, values)))
        for name in ("inverted", "right"):
            if getattr(self, name) not in (None, True, False):
                raise KoaError(f"{getattr(self, name)!r} is not yes or no.", where=name, remedy="Give True or False.")
        for name in ("exposure", "margin"):
            object.__setattr__(self, name, _range(getattr(self, name), name))
        object.__setattr__(self, "columns", tuple(map(condition_of, self.columns)))

    def with_(self, **changes) -> Filters:
        """The same conditions with these attributes changed; `KoaError` for one that does not exist."""
        known = [field.name for field in fields(self)]
        if odd := changes.keys() - known:
            raise KoaError(f"There is no condition {min(odd)!r}.", remedy=f"Choose from {', '.join(known)}.")
        return replace(self, **changes)

    def _conditions(self) -> Iterator[tuple[str, tuple[str, ...], Callable[[pd.DataFrame], object]]]:
        """Of each condition the words, the columns it needs, and the mask of a table that has them."""
        sides, splits = [SIDES.get(side, f"side {side}") for side in self.sides], self.splits
        reader, model = ([f"KL{grade}" for grade in grades] for grades in (self.grades, self.given))
        for words, column, wanted in (
            (f"{' or '.join(sides)} knees", "side", self.sides),
            (f"split {' or '.join(splits)}", "split", splits),
            (f"reader says {' or '.join(reader)}", "kl", self.grades),
            (f"model says {' or '.join(model)}", "pred", self.given),
        ):
            if wanted:
                yield words, (column,), lambda table, column=column, wanted=wanted: table[column].isin(wanted)
        if self.right is not None:
            words = "model right" if self.right else "model wrong"
            yield words, ("kl", "pred"), lambda table: (table["kl"] == table["pred"]) == self.right
        if self.inverted is not None:
            words = "inverted" if self.inverted else "not inverted"
            yield words, ("inverted",), lambda table: table["inverted"] == self.inverted
        if self.exposure:
            yield (
                f"exposure {_between(*self.exposure)}", (),
                lambda table: _within(table[exposure_column(table)].to_numpy(float, na_value=np.nan), self.exposure),
            )  # fmt: skip
        if self.margin:
            needs = (*(f"s{grade}" for grade in GRADES), "pred")
            yield f"margin {_between(*self.margin)}", needs, lambda table: _within(margin(table), self.margin)
        for column, operator, value in self.columns:
            said = "" if value is None else f" {value:g}" if isinstance(value, float) else f" {value}"
            asked = (column, operator, value)
            yield (
                f"{column} {operator}{said}".rstrip(),
                (),
                lambda table, asked=asked: meets(table[asked[0]], *asked[1:]),
            )

    def mask(self, predictions: pd.DataFrame) -> np.ndarray:
        """Whether each knee meets every condition, bool ``(N,)``; `KoaError` for the first of `problems`."""
        if problems := self.problems(predictions):
            raise KoaError(problems[0], where="filters", remedy="Change or remove this condition.")
        met = np.ones(len(predictions), bool)
        for _, _, passes in self._conditions():
            met &= pd.array(passes(predictions), copy=False).to_numpy(bool, na_value=False)
        return met

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The rows of the knees that meet every condition, perhaps none; `KoaError` as `mask`."""
        return predictions[self.mask(predictions)]

    def problems(self, predictions: pd.DataFrame) -> list[str]:
        """One sentence for each condition that cannot be used on this table, saying why; empty when all can."""
        needed = dict.fromkeys(column for _, needs, _ in self._conditions() for column in needs)
        found = [f"There is no column {name!r}." for name in needed if name not in predictions]
        if self.exposure and exposure_column(predictions) is None:
            found.append(f"No column of numbers tells the exposure: none is called {' or '.join(EXPOSURE_COLUMNS)}.")
        return found + [said for condition in self.columns if (said := problem_of(predictions, *condition))]

    def describe(self) -> str:
        """The conditions in words, such as "right knees, margin under 0.5, patient contains 90"; else "all knees"."""
        return ", ".join(words for words, _, _ in self._conditions()) or "all knees"


def exposure_column(predictions: pd.DataFrame) -> str | None:
    """The first of `EXPOSURE_COLUMNS` that this table has as numbers; ``None`` if it has none."""
    there = (name for name in EXPOSURE_COLUMNS if name in predictions and kind_of(predictions[name]) == "number")
    return next(there, None)


def _range(ends: object, where: str) -> tuple[float | None, float | None] | None:
    if ends is None:
        return None
    low, high = ends if isinstance(ends, Sequence) and len(ends) == 2 else (math.nan, math.nan)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if not all(isinstance(end, Real) for end in (low, high)) or not low <= high:
        raise KoaError(f"{ends!r} is no range.", where=where, remedy="Give (lowest, below), None for an open end.")
    low, high = (None if math.isinf(end) else float(end) for end in (low, high))
    return None if low is high is None else (low, high)


def _within(values: np.ndarray, ends: tuple[float | None, float | None]) -> np.ndarray:
    low, high = ends
    return (values >= (-math.inf if low is None else low)) & (values < (math.inf if high is None else high))


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"under {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to under {high:g}"
