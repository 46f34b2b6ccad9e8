"""A holdout: train patients nobody trains on, so that choices made on val can be checked before any test."""

from __future__ import annotations

import hashlib
import string
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np

from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError

HOLDOUT = "holdout"
"""Name of the split that `set_aside` makes."""

SEALED = "test"
"""Name of the split that is for one final score."""

EARLIER_NAMES = {"development": HOLDOUT}
"""What splits are called in tables and run folders that were written before."""


def split_stem(folder: str | Path, split: str) -> str:
    """What stands before the names of a run's files of one split: nothing for val; earlier runs have other names."""
    split = EARLIER_NAMES.get(split, split)
    for name in (split, *(earlier for earlier, new in EARLIER_NAMES.items() if new == split)):
        if (Path(folder) / f"{name}-predictions.parquet").is_file():
            return f"{name}-"
    return "" if split == "val" else f"{split}-"


def set_aside(cohort: Cohort, share: float) -> Cohort:
    """The same knees, those of about this share of the train patients now in a split "holdout".

    Who is chosen follows from a hash of the patient's name alone: the same patients for every seed, on every machine,
    and a larger share contains a smaller one. Both knees of a patient go together. A share of 0 returns the cohort
    unchanged; one outside [0, 1), or one that leaves no patient on one of the two sides, is a `KoaError`.
    """
    if not 0 <= share < 1:
        raise KoaError("The share of patients set aside must lie in [0, 1).", where=f"share={share}")
    if share == 0:
        return cohort
    if HOLDOUT in cohort.splits:
        raise KoaError("The cohort has a split of this name already.", where=f"{cohort.name}: {HOLDOUT}")
    train = cohort.table["split"] == "train"
    chosen = train & (cohort.table["patient"].map(_position) < share)
    if chosen.sum() in (0, train.sum()):
        raise KoaError(
            "Too few train patients to set some of them aside.",
            where=f"{cohort.name}: {chosen.sum()} of {train.sum()} knees at a share of {share}",
            remedy="Choose another share, or 0.",
        )
    return replace(cohort, table=cohort.table.assign(split=np.where(chosen, HOLDOUT, cohort.table["split"])))


def check_apart(cohort: Cohort) -> None:
    """Raise `KoaError` if splits share a knee or a patient under different names: the score would be flattered.

    That is one film of the same bytes in two splits, or one patient spelt in two ways: in other letters of the same
    shape, in capitals, or with blanks and punctuation around.
    """
    table = cohort.table
    spelt = table["patient"].map(
        lambda name: unicodedata.normalize("NFKC", str(name)).casefold().strip(string.punctuation + string.whitespace)
    )
    for what, key in (("film", table["sha256"].where(table["sha256"] != "")), ("patient", spelt)):
        split = table["split"].groupby(key).nunique()
        if len(shared := split.index[split > 1]):
            first = table[key == shared[0]].drop_duplicates("split").head(2)
            column = "file" if what == "film" else "patient"
            names = " and ".join(f"{row[column]} ({row['split']})" for _, row in first.iterrows())
            raise KoaError(
                f"{len(shared)} {what}s are in two splits under different names.",
                where=f"{cohort.name}: {names}",
                remedy="Keep each in one split; `koa data audit` lists films that are there twice.",
            )


def _position(patient: str) -> float:
    """A patient's own number in [0, 1)."""
    # these words are part of who is chosen: they stay
    return int(hashlib.sha256(f"development test {patient}".encode()).hexdigest()[:8], 16) / 2**32
