"""The cohort: every knee's image in one array, every knee's facts in one table, row for row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

COLUMNS = ("knee_id", "patient", "side", "split", "kl", "file", "sha256", "inverted")
MONTHS = {"00": 0, "01": 12, "03": 24, "05": 36, "06": 48, "08": 72, "10": 96}
"""Months after baseline of each OAI visit code with a KL reading."""


def excluded_table(rows: list | tuple = ()) -> pd.DataFrame:
    """Table of what was left out, columns ``part``, ``images`` and ``reason``; empty without `rows`."""
    columns = {"part": str, "images": int, "reason": str}
    return pd.DataFrame(list(rows), columns=list(columns)).astype(columns)


def fingerprint_of(knees: pd.DataFrame, made: str) -> str:
    """First 16 hex digits of a sha256 over how the images were `made` and each knee's split, grade, file and hash."""
    digest = hashlib.sha256(made.encode())
    for knee in knees[["split", "kl", "file", "sha256"]].itertuples(index=False):
        digest.update("\n".join(map(str, knee)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Images and table of one data set.

    Attributes
    ----------
    name
        Data set the knees come from.
    images
        uint8 ``(N, H, W)``, 0 black to 255 white, bone bright; usually memory-mapped, not to be written to.
    table
        One row per knee, at least the columns `COLUMNS`: ``side`` is "L" or "R" ("?" where the source does not say),
        ``kl`` 0 to 4, ``inverted`` tells that the file showed bone dark and was inverted on reading.
    fingerprint
        Tells cohorts apart, as `fingerprint_of` gives it.
    excluded
        What lies next to the knees and was left out: ``part`` (folder or file), ``images``, ``reason``.

    Raises `KoaError` if columns are missing, images and table do not fit, or a patient is in more than one split.
    """

    name: str
    images: np.ndarray
    table: pd.DataFrame = field(repr=False)
    fingerprint: str
    excluded: pd.DataFrame = field(default_factory=excluded_table, repr=False)

    def __post_init__(self):
        if missing := [column for column in COLUMNS if column not in self.table]:
            raise KoaError(f"The cohort's table lacks {', '.join(missing)}.", where=self.name)
        if self.images.dtype != np.uint8 or self.images.ndim != 3 or len(self.images) != len(self.table):
            raise KoaError(
                "Images and table do not fit: expected uint8 (N, H, W), one image a row.",
                where=f"{self.name}: images {self.images.dtype} {self.images.shape}, {len(self.table)} rows",
            )
        shared = self.table.groupby("patient")["split"].nunique().loc[lambda splits: splits > 1].index
        if len(shared):
            others = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise KoaError(
                "A patient is in two splits: the score would be flattered by the other knee.",
                where=f"{self.name}, patient {shared[0]}{others}",
                remedy="Split by patient, never by image.",
            )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        patients, inverted = self.table["patient"].nunique(), self.table["inverted"].sum()
        turned = f"; {inverted} showed bone dark and were inverted" if inverted else ""
        return f"Cohort({self.name}: {len(self)} knees of {patients} patients; {splits}{turned})"

    @property
    def splits(self) -> dict[str, int]:
        """Number of knees in each split, in the table's order."""
        return self.table.groupby("split", sort=False).size().to_dict()

    def split(self, *names: str) -> Cohort:
        """Knees of one split, or of several, in the table's order."""
        if unknown := [name for name in names if name not in self.splits]:
            choices = f"Choose from {list(self.splits)}."
            raise KoaError(f"There is no split {unknown[0]!r}.", where=self.name, remedy=choices)
        return self.take(np.flatnonzero(self.table["split"].isin(names)))

    def take(self, rows: np.ndarray) -> Cohort:
        """Knees at these row numbers, in that order; adjacent rows share memory with this cohort."""
        rows = np.asarray(rows)
        adjacent = len(rows) > 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
        images = self.images[rows[0] : rows[0] + len(rows)] if adjacent else self.images[rows]
        return replace(self, images=images, table=self.table.iloc[rows].reset_index(drop=True))
