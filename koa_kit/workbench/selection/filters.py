"""Which knees to look at: conditions on a predictions table as a frozen record, and the scores of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import metrics_of_counts
from koa_kit.error_analysis.predictions import NUMBERS, check_predictions, margin
from koa_kit.error_analysis.statistics.intervals import check_level, percentile_interval
from koa_kit.error_analysis.statistics.shares import drawn_counts
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.selection.changes import SCORES, K
from koa_kit.workbench.selection.conditions import condition_of, in_words, kind_of, meets, problem_of

EXPOSURE_COLUMNS = ("exposure", "brightness", "mean_grey")
"""Names under which a table may tell how bright a film is, the first that is there and numeric counts."""

FEW = 20
"""Most different texts that still make a column of categories."""

SIDES = {"L": "left", "R": "right"}
NEEDED = {"sides": "side", "splits": "split", "grades": "kl", "given": "pred", "inverted": "inverted"}


@dataclass(frozen=True)
class Filters:
    """Conditions a knee must all meet; one left out lets every knee pass.

    Attributes
    ----------
    sides, splits
        Values of the columns ``side`` and ``split``; empty means all.
    grades, given
        Grades of the reader and of the model, 0 to 4; empty means all.
    inverted
        The file's grey values were inverted, or not.
    exposure, margin
        From the first number up to, not including, the second; ``None`` leaves an end open. Margin as by
        `koa_kit.error_analysis.predictions.margin`, exposure from one of `EXPOSURE_COLUMNS`.
    right
        The model gave the reader's grade, or not.
    columns
        Conditions ``(column, operator, value)`` on any column, operators out of `OPERATORS`; "is missing" needs no
        value. "contains" looks for a piece of text, upper and lower case alike. A value that is missing meets
        "is missing" alone.

    Raises
    ------
    KoaError
        If a grade, a range or an operator cannot be. What does not fit a table is told by `problems`.
    """

    sides: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    grades: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    inverted: bool | None = None
    exposure: tuple[float | None, float | None] | None = None
    margin: tuple[float | None, float | None] | None = None
    right: bool | None = None
    columns: tuple[tuple[str, str, object], ...] = ()

    def __post_init__(self):
        for name in ("sides", "splits", "grades", "given"):
            values = getattr(self, name)
            values = tuple(values) if pd.api.types.is_list_like(values) else (values,)
            grades = name in ("grades", "given")
            if grades and (odd := [grade for grade in values if grade not in GRADES]):
                raise KoaError(f"There is no grade {odd[0]!r}.", where=name, remedy="Grades are 0 to 4.")
            object.__setattr__(self, name, tuple(map(int if grades else str, values)))
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

    def mask(self, predictions: pd.DataFrame) -> np.ndarray:
        """Whether each knee meets every condition, bool ``(N,)``.

        Raises
        ------
        KoaError
            If a condition cannot be used on this table; see `problems`.
        """
        if problems := self.problems(predictions):
            raise KoaError(problems[0], where="filters", remedy="Change or remove this condition.")
        met = np.ones(len(predictions), bool)
        for name in ("sides", "splits", "grades", "given"):
            if wanted := getattr(self, name):
                met &= predictions[NEEDED[name]].isin(wanted).to_numpy(bool)
        if self.inverted is not None:
            met &= (predictions["inverted"] == self.inverted).to_numpy(bool, na_value=False)
        if self.right is not None:
            met &= (predictions["kl"] == predictions["pred"]).to_numpy(bool) == self.right
        if self.exposure:
            met &= _within(predictions[exposure_column(predictions)].to_numpy(float, na_value=np.nan), self.exposure)
        if self.margin:
            met &= _within(margin(predictions), self.margin)
        for column, operator, value in self.columns:
            met &= meets(predictions[column], operator, value)
        return met

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The rows of the knees that meet every condition, perhaps none; `KoaError` as `mask`."""
        return predictions[self.mask(predictions)]

    def problems(self, predictions: pd.DataFrame) -> list[str]:
        """One sentence for each condition that cannot be used on this table, saying why; empty when all can."""
        needed = [column for name, column in NEEDED.items() if getattr(self, name) not in ((), None)]
        needed += ["kl", "pred"] if self.right is not None else []
        needed += [*(f"s{grade}" for grade in GRADES), "pred"] if self.margin else []
        found = [f"There is no column {name!r}." for name in dict.fromkeys(needed) if name not in predictions]
        if self.exposure and exposure_column(predictions) is None:
            found.append(f"No column of numbers tells the exposure: none is called {' or '.join(EXPOSURE_COLUMNS)}.")
        told = (problem_of(predictions, *condition) for condition in self.columns)
        return found + [problem for problem in told if problem]

    def describe(self) -> str:
        """The conditions in words, such as "right knees, margin under 0.5, patient contains 90"; else "all knees"."""
        words = []
        if self.sides:
            words.append(f"{' or '.join(SIDES.get(side, f'side {side}') for side in self.sides)} knees")
        if self.splits:
            words.append(f"split {' or '.join(self.splits)}")
        for whose, grades in (("reader", self.grades), ("model", self.given)):
            if grades:
                words.append(f"{whose} says {' or '.join(f'KL{grade}' for grade in grades)}")
        if self.right is not None:
            words.append("model right" if self.right else "model wrong")
        if self.inverted is not None:
            words.append("inverted" if self.inverted else "not inverted")
        words += [f"{name} {_between(*ends)}" for name in ("exposure", "margin") if (ends := getattr(self, name))]
        words += [" ".join([column, operator, in_words(value)]).rstrip() for column, operator, value in self.columns]
        return ", ".join(words) or "all knees"


def exposure_column(predictions: pd.DataFrame) -> str | None:
    """The first of `EXPOSURE_COLUMNS` that this table has as numbers; ``None`` if it has none."""
    there = (name for name in EXPOSURE_COLUMNS if name in predictions and kind_of(predictions[name]) == "number")
    return next(there, None)


def filterable_columns(predictions: pd.DataFrame, *, scores: bool = False) -> dict[str, str]:
    """Column to its kind: "number", "flag" (yes or no), "category" (at most `FEW` different texts), or "text".

    Parameters
    ----------
    scores
        Also the similarities and probabilities, ``s0`` to ``p4_flip``.
    """
    kinds = {}
    for column in predictions.columns:
        if scores or column not in NUMBERS:
            values, kinds[column] = predictions[column], kind_of(predictions[column])
            # names that mostly occur once are no categories, however few the knees
            if kinds[column] == "text" and 0 < 2 * (different := values.nunique()) <= values.count():
                kinds[column] = "category" if different <= FEW else "text"
    return kinds


def scores_of(
    predictions: pd.DataFrame, metrics: Sequence[str] = SCORES, *, draws: int = 500, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """One row a metric: ``metric``, ``value``, ``low``, ``high``, ``n_knees``, ``n_patients``, also of few knees.

    Of no knee every score is nan; of one patient there is a value and no interval. Intervals are those of
    `koa_kit.error_analysis.statistics.intervals` with other random draws; see `drawn_counts`.

    Parameters
    ----------
    predictions
        Predictions table, perhaps filtered, perhaps empty.
    metrics
        Metrics that follow from confusion counts; see `metrics_of_counts`.
    draws, seed, level
        Bootstrap draws of patients, their seed, share of the draws inside the interval.

    Raises
    ------
    KoaError
        If the table is no predictions table, a metric is unknown, or `draws` or `level` make no interval.
    """
    check_level(draws, level)
    patients, counts = 0, np.zeros((1, K * K))
    if len(predictions):
        check_predictions(predictions)
        cell = predictions["kl"].to_numpy(int) * K + predictions["pred"].to_numpy(int)
        patients = int(predictions["patient"].nunique())
        counts = drawn_counts(predictions["patient"], cell, K * K, draws=draws, seed=seed)
    with np.errstate(invalid="ignore"):  # of no knee every share is 0 / 0
        found = metrics_of_counts(counts.reshape(-1, K, K), metrics)
    rows = []
    for name, values in found.items():
        low, high, _ = percentile_interval(values[0], values[1:] if patients > 1 else values[:0], level)
        row = {"metric": name, "value": float(values[0]), "low": low, "high": high}
        rows.append(row | {"n_knees": len(predictions), "n_patients": patients})
    return pd.DataFrame(rows)


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
