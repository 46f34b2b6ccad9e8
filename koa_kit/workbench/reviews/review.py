"""One reader's review of the grade of one knee, checked when it is made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

ANSWERS = ("agree", "disagree", "bad_image")
TEXTS = {"reader": (1, 200), "knee_id": (1, 200), "patient": (1, 200), "note": (0, 2000)}
"""Fewest and most characters of what is free text."""

SAID = {"agree": "agrees", "disagree": "disagrees", "bad_image": "bad image"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, kw_only=True)
class Review:
    """What one reader says about the grade of one knee; texts as in `TEXTS`."""

    id: str = field(default_factory=lambda: uuid4().hex)
    time: str = field(default_factory=_now)  # UTC in ISO 8601 with microseconds
    reader: str  # without spaces around: "Ann" and "Ann " would be two readers
    knee_id: str
    patient: str
    kl: int  # the grade the knee was given
    answer: str  # one of `ANSWERS`; "bad_image" where the picture cannot be graded
    grade: int | None = None  # what the reader proposes, with "disagree" and with nothing else
    note: str = ""

    def __post_init__(self):
        for name, ends in TEXTS.items():
            _check_text(name, getattr(self, name), *ends)
        _require(self.answer in ANSWERS, f"{self.answer!r} is no answer", "answer", f"Give {', '.join(ANSWERS)}.")
        proposed = self.answer == "disagree"
        fits = proposed or self.grade is None
        _require(fits, f"A grade comes with {self.answer!r}", "grade", "Propose one with disagree alone.")
        for name in ("kl", "grade") if proposed else ("kl",):
            grade = getattr(self, name)
            whole = isinstance(grade, int | np.integer) and not isinstance(grade, bool)
            _require(whole and grade in GRADES, f"{grade!r} is no grade", name, "Give a whole number 0 to 4.")
            object.__setattr__(self, name, int(grade))  # JSON knows no numpy, from which tables are made
        _require(self.grade != self.kl, f"KL{self.kl} is the given grade", "grade", "Agree, or propose another one.")
        known = isinstance(self.id, str) and re.fullmatch("[0-9a-f]{32}", self.id)
        _require(known, f"{self.id!r} is no id", "id", "Give uuid4().hex, or leave it out.")
        _require(_is_time(self.time), f"{self.time!r} is no time", "time", f"Give it as {_now()}, or leave it out.")


COLUMNS = tuple(part.name for part in fields(Review))


def in_words(review, characters: int = 80) -> str:
    """What a review, or its row of a table, says: the answer, a proposed grade, so many `characters` of the note."""
    grade = "" if pd.isna(review.grade) else f": KL{review.grade}"
    note = f" “{review.note[:characters]}”" if review.note else ""
    return f"{SAID[review.answer]}{grade}{note}"


def _require(holds: object, what: str, where: str, remedy: str) -> None:
    if not holds:
        raise KoaError(f"{what}.", where=where, remedy=remedy)


def _check_text(name: str, text: Any, fewest: int, most: int) -> None:
    _require(isinstance(text, str), f"{text!r} is no text", name, "Give a str.")
    _require(fewest <= len(text) <= most, f"A text has {len(text)} characters", name, f"Give {fewest} to {most}.")
    _require(not fewest or text == text.strip(), f"{text!r} begins or ends with a space", name, "Give it without.")
    # half of a character written in two parts, which a browser may cut, is in no file
    _require(not re.search("[\ud800-\udfff]", text), "A character is cut in half", name, "Type it again.")


def _is_time(text: Any) -> bool:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return time.utcoffset() == timedelta(0) and time.isoformat(timespec="microseconds") == text
