"""What a cohort holds and what is odd about it, counted from the pixels and the table, not from the documentation."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data.manifest import find_dataset, load_manifest
from koa_kit.data.sources.followup import COLUMNS as FOLLOWUP_COLUMNS
from koa_kit.data.sources.followup import load_followup
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES


@dataclass(frozen=True)
class Audit:
    """Result of `audit_cohort`.

    Attributes
    ----------
    name, fingerprint
        Of the cohort.
    classes
        Knees per grade (columns KL0 to KL4, total), one row per split.
    patients
        One row per split: patients, knees, left and right knees, patients with both knees, and of those the share whose
        two knees have the same grade and grades at most one apart (missing where no side is known).
    overlap
        One row per pair of splits, such as ``train & val``: patients in both. Anything but 0 flatters every score.
    duplicates
        One row per knee whose pixels equal another's exactly: ``group``, ``knee_id``, ``split``, ``kl``, ``file``.
    inverted
        One row per split: images whose file shows bone dark, and how many of them are known of the published data set.
    excluded
        What lies next to the knees and was left out: part, images, reason.
    published
        True if the manifest states counts for any split of this cohort.
    differs_from_published
        Sentences naming counts that differ from the manifest's; empty where all agree or none are published.
    """

    name: str
    fingerprint: str
    classes: pd.DataFrame
    patients: pd.DataFrame
    overlap: pd.DataFrame
    duplicates: pd.DataFrame
    inverted: pd.DataFrame
    excluded: pd.DataFrame
    published: bool = False
    differs_from_published: tuple[str, ...] = ()

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Every table by its name."""
        return {name: table for name, table in vars(self).items() if isinstance(table, pd.DataFrame)}

    def summary(self) -> str:
        """Plain text for a terminal: the tables and one line per finding."""
        shared = ", ".join(f"{pair} {n}" for pair, n in self.overlap["patients"].items()) or "only one split"
        inverted = self.inverted["inverted"]
        by_split = ", ".join(f"{split} {count}" for split, count in inverted.items())
        lines = [
            f"{self.name} ({self.fingerprint})",
            f"{self.classes.to_string()}\n",
            self.patients.to_string(float_format="{:.2f}".format, na_rep="-") + "\n",
            f"patients in two splits: {shared}",
            f"equal pixel arrays: {self.duplicates['group'].nunique()} group(s), {len(self.duplicates)} images",
            f"inverted images, turned bone bright: {inverted.sum()} ({by_split})",
        ]
        lines += self._twice()
        lines += [f"left out: {row.part}, {row.images} image(s): {row.reason}" for row in self.excluded.itertuples()]
        counts = "counts: as published" if self.published else "counts: none published"
        return "\n".join(lines + (list(self.differs_from_published) or [counts]))

    def _twice(self, most: int = 10) -> list[str]:
        """Films that are there twice, by name; first those that are in two splits, which flatter every score."""
        lines = []
        for _, films in self.duplicates.groupby("group"):
            splits = films["split"].unique()
            leak = f"  IN TWO SPLITS ({' & '.join(splits)})" if len(splits) > 1 else ""
            lines.append(f"  the same film: {' = '.join(films['file'])}{leak}")
        lines.sort(key=lambda line: "IN TWO SPLITS" not in line)
        return lines[:most] + ([f"  and {len(lines) - most} more: --json lists them"] if len(lines) > most else [])


def audit_cohort(cohort: Cohort) -> Audit:
    """Tables of what a cohort holds and what is odd about it."""
    classes, inverted = class_counts(cohort), count_inverted(cohort)
    entry = load_manifest().get(cohort.name)
    published = {split: entry.counts[split] for split in classes.index if split in entry.counts} if entry else {}
    differs = [
        f"{split}: grades {here} differ from the published {counts}"
        for split, counts in published.items()
        if (here := classes.loc[split].tolist()[:-1]) != counts
    ]
    differs += [
        f"{split}: {row['inverted']} inverted images, {row['published']} are known"
        for split, row in inverted.dropna().iterrows()
        if row["inverted"] != row["published"]
    ]
    return Audit(
        cohort.name,
        cohort.fingerprint,
        classes=classes,
        patients=count_patients(cohort),
        overlap=patient_overlap(cohort.table),
        duplicates=equal_pixels(cohort),
        inverted=inverted,
        excluded=cohort.excluded,
        published=bool(published),
        differs_from_published=tuple(differs),
    )


def class_counts(cohort: Cohort) -> pd.DataFrame:
    """Knees per grade: one row per split, columns KL0 to KL4 and total."""
    counts = pd.crosstab(cohort.table["split"], cohort.table["kl"])
    counts = counts.reindex(index=list(cohort.splits), columns=list(GRADES), fill_value=0)
    counts.columns = [f"KL{kl}" for kl in GRADES]
    return counts.assign(total=counts.sum(axis=1)).rename_axis("split")


def knee_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """One row per patient with both knees: ``split``, ``L`` and ``R``, the grades of the left and the right knee."""
    sides = table[table["side"].isin(["L", "R"])]
    pairs = sides.pivot(index=["split", "patient"], columns="side", values="kl").reindex(columns=["L", "R"])
    return pairs.dropna().astype(int).reset_index("split")


def count_patients(cohort: Cohort) -> pd.DataFrame:
    """One row per split, as in `Audit`."""
    table = cohort.table.assign(left=cohort.table["side"] == "L", right=cohort.table["side"] == "R")
    counts = table.groupby("split", sort=False).agg(
        patients=("patient", "nunique"), knees=("patient", "size"), left=("left", "sum"), right=("right", "sum")
    )
    pairs = knee_pairs(table)
    apart = (pairs["L"] - pairs["R"]).abs()
    pairs = pairs.assign(same_grade=apart == 0, within_one=apart <= 1).groupby("split")
    agreement = pairs.agg(
        both_knees=("L", "size"), same_grade=("same_grade", "mean"), within_one=("within_one", "mean")
    )
    return counts.join(agreement).fillna({"both_knees": 0}).astype({"both_knees": int})


def patient_overlap(table: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of splits, as in `Audit`."""
    by_split = table.groupby("split", sort=False)["patient"].agg(set)
    rows = {f"{one} & {other}": len(by_split[one] & by_split[other]) for one, other in combinations(by_split.index, 2)}
    return pd.DataFrame({"patients": pd.Series(rows, dtype=int)}).rename_axis("splits")


def equal_pixels(cohort: Cohort) -> pd.DataFrame:
    """One row per copied knee, as in `Audit`, in groups numbered from 1; empty is what one hopes for."""
    pixels = (np.ascontiguousarray(image).data for image in cohort.images)
    digests = pd.Series([hashlib.sha256(image).hexdigest() for image in pixels], dtype=str)
    digests = digests[digests.duplicated(keep=False)]
    rows = cohort.table.loc[digests.index, ["knee_id", "split", "kl", "file"]]
    return rows.assign(group=pd.factorize(digests)[0] + 1).reset_index(drop=True)


def count_inverted(cohort: Cohort) -> pd.DataFrame:
    """One row per split, as in `Audit`."""
    counts = cohort.table.groupby("split", sort=False)["inverted"].sum().astype(int)
    entry = load_manifest().get(cohort.name)
    known = entry.pixels.inverted if entry and entry.pixels else {}
    published = pd.array([known.get(split) for split in counts.index], dtype="Int64")
    return pd.DataFrame({"inverted": counts, "published": published}).rename_axis("split")


def leak_of_image_split(table: pd.DataFrame, *, val_share: float = 0.2, seed: int = 0) -> float:
    """Share of val knees whose patient is in training too, if `table` were split anew by image, not by patient.

    The splits of `table` are pooled, and `val_share` of the knees drawn for val by `seed`; a `KoaError` is raised if
    that leaves val or training without a knee.
    """
    n_val = round(val_share * len(table))
    if not 0 < n_val < len(table):
        raise KoaError(
            f"A val share of {val_share!r} leaves one side of the split empty.",
            where=f"{len(table)} knees",
            remedy="Give a share between 0 and 1, for example 0.2.",
        )
    shuffled = np.random.default_rng(seed).permutation(table["patient"].to_numpy())
    return float(np.isin(shuffled[:n_val], shuffled[n_val:]).mean())


def cohort_followup(cohort: Cohort, *, data_dir: str | os.PathLike | None = None) -> pd.DataFrame:
    """Readings of the cohort's own knees at later visits, as `load_followup`; no row where there are none.

    Phantoms carry their later grades with them (columns ``kl_12`` and so on); their reading project is 0. The OAI's
    table is looked up only for patients whose numbers look like its own. Raises `KoaError` if the table is here but
    cannot be read.
    """
    table = cohort.table
    if visits := {name: int(name[3:]) for name in table if re.fullmatch(r"kl_\d+", name)}:
        long = table.rename(columns={"kl": 0} | visits).melt(
            ["patient", "side"], [0, *visits.values()], var_name="months", value_name="kl"
        )
        return long.astype({"months": int, "kl": int}).assign(reading_project=0)[FOLLOWUP_COLUMNS]
    nothing = pd.DataFrame(columns=FOLLOWUP_COLUMNS).astype({"months": int, "kl": int, "reading_project": int})
    if not table["patient"].str.fullmatch(load_manifest()["oai-followup"].patient_pattern).any():
        return nothing
    try:
        find_dataset("oai-followup", data_dir)
    except KoaError:  # not here; a table that is here but broken raises below
        return nothing
    return load_followup(data_dir).merge(table[["patient", "side"]], on=["patient", "side"])


def provenance(cohort: Cohort) -> pd.Series:
    """Where the knees come from, by the manifest: title, version, access, licence, citation, doi, notes."""
    if (entry := load_manifest().get(cohort.name)) is None:
        return pd.Series({"title": f"{cohort.name}: not in the manifest, so licence and citation are yours to state"})
    fields = ("title", "version", "access", "licence", "citation", "doi", "notes")
    return pd.Series({name: getattr(entry, name) for name in fields if getattr(entry, name)}, name=cohort.name)
