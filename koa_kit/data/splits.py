"""A holdout: train patients nobody trains on, so that choices made on val can be checked before any test."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError

HOLDOUT = "holdout"
"""Name of the split that `set_aside` makes."""

EARLIER_NAMES = {"development": HOLDOUT}
"""What splits are called in tables and run folders that were written before."""


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


def _position(patient: str) -> float:
    """A patient's own number in [0, 1)."""
    # these words are part of who is chosen: they stay
    return int(hashlib.sha256(f"development test {patient}".encode()).hexdigest()[:8], 16) / 2**32
