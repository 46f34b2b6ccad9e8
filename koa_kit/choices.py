"""Records of choices: frozen dataclasses that pydantic checks, whose errors a user can understand."""

from __future__ import annotations

from typing import Any, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from koa_kit.errors import KoaError

LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@dataclass_transform(frozen_default=True)
def choices(record: type) -> type:
    """`record` as a frozen dataclass whose fields are checked strictly when it is made.

    A choice is declared once, by its type: ``Literal`` names the options, ``Annotated[float, Field(gt=0)]`` the range.
    Strictly: ``True`` is no number, ``1.9`` no whole one, and nan lies in no range.

    Raises
    ------
    KoaError
        When the record is made with a value that is none of its options, out of range or of another type.
    """
    made = dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))(
        record
    )
    checked = made.__init__

    def __init__(self, *values: Any, **named: Any) -> None:
        try:
            checked(self, *values, **named)
        except ValidationError as error:
            raise _in_words(error) from None

    made.__init__ = __init__
    return made


def _in_words(error: ValidationError) -> KoaError:
    first = error.errors()[0]
    name, value, limits = str(first["loc"][0]) if first["loc"] else "choice", first["input"], first.get("ctx", {})
    if first["type"] == "literal_error":
        options = limits["expected"].replace(" or ", ", ").replace("'", "")
        return KoaError(f"There is no {name} {value!r}.", remedy=f"Choose from {options}.")
    if first["type"] == "unexpected_keyword_argument":
        return KoaError(f"There is no choice {name!r}.", remedy="Look at the spelling.")
    said = [f"{LIMITS[key]} {limit:g}" for key, limit in limits.items() if key in LIMITS]
    what = f"must be {said[0]}" if said else first["msg"][0].lower() + first["msg"][1:]
    return KoaError(f"{name}: {what}.", where=f"{name}={value!r}")
