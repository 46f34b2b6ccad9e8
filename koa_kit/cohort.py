"""The cohort: every knee's image in one array, every knee's facts in one table, row for row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import LABEL_NAMES

COLUMNS = ("knee_id", "patient", "side", "split", "kl", "file", "sha256", "inverted")
EXCLUDED_COLUMNS = ("part", "images", "reason")


def nothing_excluded() -> pd.DataFrame:
    """Empty table with the columns `EXCLUDED_COLUMNS`."""
    return pd.DataFrame({"part": pd.Series(dtype=str), "images": pd.Series(dtype=int), "reason": pd.Series(dtype=str)})


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
        One row a knee, at least the columns `COLUMNS`: ``side`` is "L" or "R" ("?" where the source does not say),
        ``kl`` 0 to 4, ``inverted`` tells that the file showed bone dark and was turned round on ingest.
    fingerprint
        First 16 hex digits of a sha256 over the knees' hashes and how they were read.
    label_names
        The five grades' names.
    excluded
        What lay beside the knees and was left out: a part (folder or file), its number of images, the reason.
    """

    name: str
    images: np.ndarray
    table: pd.DataFrame = field(repr=False)
    fingerprint: str
    label_names: tuple[str, ...] = LABEL_NAMES
    excluded: pd.DataFrame = field(default_factory=nothing_excluded, repr=False)

    def __post_init__(self):
        missing = [column for column in COLUMNS if column not in self.table]
        if missing:
            raise KoaError(f"The cohort's table lacks {', '.join(missing)}.", where=self.name)
        if self.images.dtype != np.uint8 or self.images.ndim != 3 or len(self.images) != len(self.table):
            raise KoaError(
                "Images and table do not fit: expected uint8 (N, H, W), one image a row.",
                where=f"{self.name}: images {self.images.dtype} {self.images.shape}, {len(self.table)} rows",
            )
        require_patients_in_one_split(self.table, self.name)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return f"Cohort({self.name}: {len(self)} knees of {self.table['patient'].nunique()} patients; {splits})"

    @property
    def splits(self) -> dict[str, int]:
        """Number of knees in each split, in the table's order."""
        return self.table.groupby("split", sort=False).size().to_dict()

    def split(self, name: str) -> Cohort:
        """Knees of one split."""
        if name not in self.splits:
            raise KoaError(f"There is no split {name!r}.", where=self.name, remedy=f"Choose from {list(self.splits)}.")
        return self.take(np.flatnonzero(self.table["split"] == name))

    def take(self, rows: np.ndarray) -> Cohort:
        """Knees at these row numbers, in that order; adjacent rows share memory with this cohort."""
        rows = np.asarray(rows)
        adjacent = len(rows) > 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
        images = self.images[rows[0] : rows[0] + len(rows)] if adjacent else self.images[rows]
        return replace(self, images=images, table=self.table.iloc[rows].reset_index(drop=True))


def require_patients_in_one_split(table: pd.DataFrame, name: str) -> None:
    """Nothing; raises `KoaError` naming a patient whose knees lie in more than one split of `table`."""
    splits_per_patient = table.groupby("patient")["split"].nunique()
    shared = splits_per_patient.index[splits_per_patient > 1]
    if len(shared):
        others = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise KoaError(
            "A patient is in two splits: the score would be flattered by the other knee.",
            where=f"{name}, patient {shared[0]}{others}",
            remedy="Split by patient, never by image.",
        )


MONTHS = {"00": 0, "01": 12, "03": 24, "05": 36, "06": 48, "08": 72, "10": 96}
"""Months after baseline of each OAI visit code with a KL reading."""
