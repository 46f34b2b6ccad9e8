"""One condition on one column of a table, as a boolean mask: whether it can be asked, who meets it, how it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

OPERATORS = ("is", "is not", "at least", "at most", "contains", "is missing")
"""What may be asked; "contains" takes upper and lower case alike, and a missing value meets "is missing" alone."""
FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def kind_of(values: pd.Series) -> str:
    """ "number", "flag" or "text": how the values of a column can be compared."""
    values = _plain(values)
    kind = pd.api.types.infer_dtype(values, skipna=True) if values.dtype == object else None
    if pd.api.types.is_bool_dtype(values.dtype) or kind == "boolean":
        return "flag"
    numeric = ("integer", "floating", "mixed-integer-float", "decimal")
    return "number" if pd.api.types.is_numeric_dtype(values.dtype) or kind in numeric else "text"


def condition_of(condition: Sequence) -> tuple[str, str, object]:
    """Column, operator and value of a condition as it was given; raises `KoaError` if it is none."""
    parts = tuple(condition) if isinstance(condition, Sequence) and not isinstance(condition, str) else ()
    if parts[1:] == ("is missing",):
        parts = (*parts, None)
    if len(parts) != 3 or parts[1] not in OPERATORS:
        raise KoaError(
            f"{condition!r} is no condition.",
            where="columns",
            remedy=f"Give (column, operator, value) with an operator out of {', '.join(OPERATORS)}.",
        )
    column, operator, value = parts
    if operator == "is missing":
        return column, operator, None
    if not isinstance(value, str | Real | np.bool_):
        raise KoaError(f"{value!r} is not one value.", where=f"columns, {column}", remedy="Give a text or a number.")
    return column, operator, value.item() if isinstance(value, np.generic) else value


def meets(values: pd.Series, operator: str, value: Any) -> np.ndarray:
    """Which values meet a condition, bool ``(N,)``; `KoaError` if it cannot be asked of values of their kind."""
    values, column = _plain(values), values.name
    known, kind, wanted = values.notna().to_numpy(bool), kind_of(values), value
    if operator == "is missing":
        return ~known
    if operator in ("at least", "at most") and kind != "number":
        raise unanswerable(f"{column} is no number, so it is not {operator} anything.")
    if operator == "contains":
        if kind == "flag":
            raise unanswerable(f"{column} says yes or no, so it contains no text.")
        found = values.astype(str).str.contains(str(value), case=False, regex=False, na=False)
        return known & found.to_numpy(bool)
    if (value := _as_kind(wanted, kind)) is None:
        raise unanswerable(f"{column} is {'a number' if kind == 'number' else 'yes or no'}, and {wanted!r} is not.")
    if kind == "number":
        values = pd.Series(values.to_numpy(float, na_value=np.nan))
    elif kind == "text":
        values = values.astype(str)
    compared = {"at least": values.ge, "at most": values.le, "is": values.eq, "is not": values.ne}[operator](value)
    return known & compared.to_numpy(bool, na_value=False)


def unanswerable(why: str) -> KoaError:
    """Error of a condition that cannot be asked of a table."""
    return KoaError(why, where="filters", remedy="Change or remove this condition.")


def _as_kind(value: Any, kind: str) -> float | bool | str | None:
    """The value as a column of that kind holds it, ``None`` if it cannot; what is typed into a field is text."""
    if kind == "text":
        return str(value)
    if kind == "flag":
        return value if isinstance(value, bool) else FLAGS.get(str(value).strip().lower())
    try:
        number = float(value)
    except (ValueError, OverflowError):  # such as 10**400
        return None
    return None if math.isnan(number) or isinstance(value, bool) else number


def _plain(values: pd.Series) -> pd.Series:
    # categories of whole numbers turn into texts like "1.0" where one is missing, objects stay what they are
    return values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values
