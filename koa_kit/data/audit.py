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
from koa_kit.data.locate import find_dataset
from koa_kit.data.manifest import load_manifest
from koa_kit.data.sources.followup import COLUMNS as FOLLOWUP_COLUMNS
from koa_kit.data.sources.followup import load_followup
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES


@dataclass(frozen=True)
class Audit:
    """Result of `audit`.

    Attributes
    ----------
    name, fingerprint
        Of the cohort.
    classes
        Knees a grade (columns KL0 to KL4, total), one row a split.
    patients
        One row a split: patients, knees, left and right knees, patients with both knees, and of those the share whose
        two knees have the same grade and grades at most one apart (missing where no side is known).
    overlap
        One row a pair of splits: patients in both. Anything but 0 flatters every score.
    duplicates
        One row a knee whose pixel array occurs more than once: ``group``, ``knee_id``, ``split``, ``kl``, ``file``.
    inverted
        One row a split: images whose file shows bone dark, and how many of them are known of the published data set.
    excluded
        What lies beside the knees and was left out: part, images, reason.
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
    differs_from_published: tuple[str, ...] = ()

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Every table by its name."""
        names = ("classes", "patients", "overlap", "duplicates", "inverted", "excluded")
        return {name: getattr(self, name) for name in names}

    def to_frame(self) -> pd.DataFrame:
        """One row a split: the class counts, the patients and the inverted images side by side."""
        return self.classes.join(self.patients.drop(columns="knees")).join(self.inverted[["inverted"]])

    def summary(self) -> str:
        """Plain text for a terminal: the tables and one line a finding."""
        groups = self.duplicates["group"].nunique()
        shared = ", ".join(f"{pair} {row.patients}" for pair, row in self.overlap.iterrows()) or "only one split"
        lines = [
            f"{self.name} ({self.fingerprint})",
            self.classes.to_string(),
            "",
            self.patients.to_string(float_format="{:.2f}".format, na_rep="-"),
            "",
            f"patients in two splits: {shared}",
            f"equal pixel arrays: {groups} group(s), {len(self.duplicates)} images",
            f"inverted images, turned bone bright: {self.inverted['inverted'].sum()} "
            f"({', '.join(f'{split} {count}' for split, count in self.inverted['inverted'].items())})",
        ]
        lines += [f"left out: {row.part}, {row.images} image(s): {row.reason}" for row in self.excluded.itertuples()]
        lines += list(self.differs_from_published) or [
            "counts: as published" if self.published else "counts: none published"
        ]
        return "\n".join(lines)

    @property
    def published(self) -> bool:
        """True if the manifest states counts for any split of this cohort."""
        return bool(_published_counts(self.name, self.classes.index))


def audit(cohort: Cohort | str | os.PathLike, *, data_dir: str | os.PathLike | None = None) -> Audit:
    """Tables of what a cohort holds and what is odd about it.

    Parameters
    ----------
    cohort
        A cohort, or the name of one, read by `load_cohort` with its default splits.
    data_dir
        Where to look for a data set given by name.
    """
    if not isinstance(cohort, Cohort):
        from koa_kit.data.load import load_cohort

        cohort = load_cohort(cohort, data_dir=data_dir)
    classes = class_counts(cohort)
    inverted = count_inverted(cohort)
    return Audit(
        name=cohort.name,
        fingerprint=cohort.fingerprint,
        classes=classes,
        patients=count_patients(cohort),
        overlap=patient_overlap(cohort.table),
        duplicates=equal_pixels(cohort),
        inverted=inverted,
        excluded=cohort.excluded,
        differs_from_published=_differences(cohort.name, classes, inverted),
    )


def class_counts(cohort: Cohort) -> pd.DataFrame:
    """Knees a grade: one row a split, columns KL0 to KL4 and total."""
    counts = pd.crosstab(cohort.table["split"], cohort.table["kl"])
    counts = counts.reindex(index=list(cohort.splits), columns=list(GRADES), fill_value=0)
    counts.columns = [f"KL{kl}" for kl in GRADES]
    return counts.assign(total=counts.sum(axis=1)).rename_axis("split")


def knee_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """One row a patient with both knees: ``split``, ``L`` and ``R``, the grades of the left and the right knee."""
    sides = table[table["side"].isin(["L", "R"])]
    pairs = sides.pivot(index=["split", "patient"], columns="side", values="kl").reindex(columns=["L", "R"])
    return pairs.dropna().astype(int).reset_index("split")


def count_patients(cohort: Cohort) -> pd.DataFrame:
    """One row a split: patients, knees, sides, and how far both knees of a patient agree."""
    table = cohort.table
    pairs = knee_pairs(table)
    apart = (pairs["L"] - pairs["R"]).abs()
    by_split = table.groupby("split", sort=False)
    counts = pd.DataFrame(
        {
            "patients": by_split["patient"].nunique(),
            "knees": by_split.size(),
            "left": by_split["side"].agg(lambda side: (side == "L").sum()),
            "right": by_split["side"].agg(lambda side: (side == "R").sum()),
        }
    )
    counts["both_knees"] = pairs.groupby("split").size().reindex(counts.index, fill_value=0)
    counts["same_grade"] = (apart == 0).groupby(pairs["split"]).mean().reindex(counts.index)
    counts["within_one"] = (apart <= 1).groupby(pairs["split"]).mean().reindex(counts.index)
    return counts.rename_axis("split")


def patient_overlap(table: pd.DataFrame) -> pd.DataFrame:
    """One row a pair of splits, such as ``train & val``: the number of patients with knees in both."""
    by_split = table.groupby("split", sort=False)["patient"].agg(set)
    rows = {f"{one} & {other}": len(by_split[one] & by_split[other]) for one, other in combinations(by_split.index, 2)}
    return pd.DataFrame({"patients": pd.Series(rows, dtype=int)}).rename_axis("splits")


def equal_pixels(cohort: Cohort) -> pd.DataFrame:
    """One row a knee whose pixels equal another's exactly, in groups numbered from 1; empty is what one hopes for."""
    digests = pd.Series([hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in cohort.images], dtype=str)
    rows = cohort.table.loc[digests.duplicated(keep=False), ["knee_id", "split", "kl", "file"]]
    groups = digests[rows.index].groupby(digests[rows.index], sort=False).ngroup() + 1
    return rows.assign(group=groups.astype(int)).reset_index(drop=True)


def count_inverted(cohort: Cohort) -> pd.DataFrame:
    """One row a split: images whose file shows bone dark, and the number known of the published data set."""
    counts = cohort.table.groupby("split", sort=False)["inverted"].sum().astype(int)
    manifest = load_manifest()
    pixels = manifest[cohort.name].pixels if cohort.name in manifest else None
    known = [pixels.inverted.get(split) if pixels else None for split in counts.index]
    return pd.DataFrame({"inverted": counts, "published": pd.array(known, dtype="Int64")}).rename_axis("split")


def leak_of_image_split(table: pd.DataFrame, *, val_share: float = 0.2, seed: int = 0) -> float:
    """Share of val knees whose patient is in training too, if `table` were split anew by image, not by patient.

    Parameters
    ----------
    table
        A cohort's table; its own splits are pooled and forgotten.
    val_share
        Share of the knees drawn for val, above 0 and below 1.
    seed
        Which knees are drawn.

    Raises
    ------
    KoaError
        If `val_share` leaves val or training without a knee.
    """
    n_val = round(val_share * len(table))
    if not 0 < n_val < len(table):
        raise KoaError(
            f"A val share of {val_share!r} leaves one side of the split empty.",
            where=f"{len(table)} knees",
            remedy="Give a share between 0 and 1, for example 0.2.",
        )
    shuffled = table["patient"].to_numpy()[np.random.default_rng(seed).permutation(len(table))]
    return float(np.isin(shuffled[:n_val], shuffled[n_val:]).mean())


def cohort_followup(cohort: Cohort, *, data_dir: str | os.PathLike | None = None) -> pd.DataFrame:
    """Readings of the cohort's own knees at later visits, as `load_followup`; no row where there are none.

    Phantoms carry their later grades with them (columns ``kl_12`` and so on); their reading project is 0. The OAI's
    table is looked up only for patients whose numbers look like its own. Raises `KoaError` if the table is here but
    cannot be read.
    """
    visits = {name: int(name[3:]) for name in cohort.table if re.fullmatch(r"kl_\d+", name)}
    if visits:
        long = cohort.table.rename(columns={"kl": 0} | visits).melt(
            ["patient", "side"], [0, *visits.values()], var_name="months", value_name="kl"
        )
        return long.astype({"months": int, "kl": int}).assign(reading_project=0)[FOLLOWUP_COLUMNS]
    nothing = pd.DataFrame(columns=FOLLOWUP_COLUMNS).astype({"months": int, "kl": int, "reading_project": int})
    known = re.compile(load_manifest()["oai-followup"].patient_pattern)
    if not cohort.table["patient"].map(lambda patient: bool(known.fullmatch(patient))).any():
        return nothing
    try:
        find_dataset("oai-followup", data_dir)
    except KoaError:  # not here; a table that is here but broken raises below
        return nothing
    return load_followup(data_dir).merge(cohort.table[["patient", "side"]], on=["patient", "side"])


def provenance(cohort: Cohort) -> pd.Series:
    """Where the knees come from, by the manifest: title, version, access, licence, citation, doi, notes."""
    fields = ("title", "version", "access", "licence", "citation", "doi", "notes")
    manifest = load_manifest()
    if cohort.name not in manifest:
        return pd.Series({"title": f"{cohort.name}: not in the manifest, so licence and citation are yours to state"})
    entry = manifest[cohort.name]
    return pd.Series({name: getattr(entry, name) for name in fields if getattr(entry, name)}, name=cohort.name)


def _published_counts(name: str, splits) -> dict[str, list[int]]:
    manifest = load_manifest()
    counts = manifest[name].counts if name in manifest else {}
    return {split: counts[split] for split in splits if split in counts}


def _differences(name: str, classes: pd.DataFrame, inverted: pd.DataFrame) -> tuple[str, ...]:
    found = []
    for split, expected in _published_counts(name, classes.index).items():
        here = classes.loc[split].tolist()[:-1]
        if here != expected:
            found.append(f"{split}: grades {here} differ from the published {expected}")
    for split, row in inverted.dropna().iterrows():
        if row["inverted"] != row["published"]:
            found.append(f"{split}: {row['inverted']} inverted images, {row['published']} are known")
    return tuple(found)
