"""The layout ``split/grade/<patient><L|R>.png``: a published data set with known hashes, or a user's own images."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pandas as pd

from koa_kit.data.files import printable, survey
from koa_kit.data.manifest import Entry, load_manifest
from koa_kit.data.radiograph import SUFFIXES, decode_radiograph
from koa_kit.data.sources.plan import Plan
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

GRADE_FOLDERS = [str(kl) for kl in GRADES]
FIRST_SPLITS = {"train": 0, "val": 1, "test": 2}
KNEE = re.compile(r"(?P<patient>.+)(?P<side>[LR])")


def choose_parts(name: str, root: Path, splits: list[str] | None, entry: Entry | None) -> list[str]:
    """Splits to read: those asked for, else the data set's default, else every split folder but the test ones."""
    known = list(entry.counts) if entry else _split_folders(root)
    default = entry.default_splits if entry else [split for split in known if split not in ("test", "auto_test")]
    chosen = list(default) if splits is None else splits
    if unknown := [split for split in chosen if split not in known]:
        choices = f"Choose from {', '.join(known) or 'none'}."
        raise KoaError(f"{name} has no split {unknown[0]!r}.", where=root, remedy=choices)
    if not chosen:
        raise KoaError(
            "There is no split to read.",
            where=root,
            remedy="Lay the images out as split/grade/<patient><L|R>.png, for example val/2/P01L.png. A test split is "
            'opened by name: splits=("test",).',
        )
    return chosen


def plan(name: str, root: Path, splits: list[str], shape: tuple[int, int], entry: Entry | None) -> Plan:
    """Plan for these splits: of a published data set exactly the listed files, of a user's own images every file."""
    remedy = f"Put these right. Every image must be {shape[1]} x {shape[0]}; another size is given as `size`."
    if entry:
        remedy = f"Run `koa data fetch {name}`: it fetches only what is missing or altered."
    result = Plan(name, root, shape, decode_radiograph, remedy)
    absent = [split for split in splits if not os.path.isdir(root / split)]
    result.problems += [f"{split}: the split is not here" for split in absent]
    grades = [f"{split}/{kl}" for split in splits if split not in absent for kl in GRADE_FOLDERS]
    missing = [grade for grade in grades if not os.path.isdir(root / grade)]
    found = survey(root, splits)
    closed = tuple(one.path for one in found if one.path.endswith("/"))
    result.problems += [f"{grade}: the grade folder is missing" for grade in missing if not grade.startswith(closed)]
    if entry:
        result.hashes = {file: digest for file, digest in entry.file_hashes().items() if file.split("/")[0] in splits}
        explained = (*(f"{folder}/" for folder in absent + missing), *closed)
        gone = result.hashes.keys() - {one.path for one in found}
        result.problems += [f"{file}: missing" for file in sorted(gone) if not file.startswith(explained)]
        others = {one.path for one in found if one.path not in result.hashes and not one.path.endswith("/")}
        unknown = "not among the published files"
        result.excluded += [(printable(file), int(file.lower().endswith(SUFFIXES)), unknown) for file in sorted(others)]
        files = result.images([one for one in found if one.path not in others], grades)
    else:
        files = result.images(found, grades)
        faults = _faults(files)
        result.refused |= faults
        files = [file for file in files if file not in faults]
    _leave_out_other_folders(result, splits, entry)
    result.knees = _knees(files)
    return result


def _split_folders(root: Path) -> list[str]:
    """Folders under `root` that hold at least one grade folder, sorted, ``train``, ``val`` and ``test`` first.

    One of these three counts also where it may not be read: it is not to be passed over.
    """
    folders = [folder for folder in root.iterdir() if not folder.name.startswith(".")]
    graded = [folder.name for folder in folders if any(os.path.isdir(folder / kl) for kl in GRADE_FOLDERS)]
    closed = [folder.name for folder in folders if folder.name in FIRST_SPLITS and _is_closed(folder)]
    return sorted({*graded, *closed}, key=lambda split: (FIRST_SPLITS.get(split, len(FIRST_SPLITS)), split))


def _is_closed(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
        return False
    except OSError as error:
        return isinstance(error, PermissionError)


def _faults(files: list[str]) -> dict[str, str]:
    """What is wrong with the place or the name of a user's own files; those that are right are not mentioned."""
    faults: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}
    for file in files:
        path = PurePosixPath(file)
        if len(path.parts) != 3 or path.parts[1] not in GRADE_FOLDERS:
            faults[file] = "not in a grade folder 0 to 4"
        elif not KNEE.fullmatch(path.stem):
            faults[file] = "the name does not end in L or R, so the side is unknown"
        elif (other := first.setdefault((path.parts[0], path.stem), file)) != file:
            faults[file] = f"the same knee as {other}"
    return faults


def _leave_out_other_folders(plan: Plan, splits: list[str], entry: Entry | None) -> None:
    excluded = (entry or load_manifest()["oai-kl224"]).excluded
    published = entry.counts if entry else FIRST_SPLITS
    other = "not part of the data set" if entry else "not asked for, or holds no grade folders"
    for folder in sorted(plan.root.iterdir()):
        if not os.path.isdir(folder) or folder.name.startswith(".") or folder.name in splits:
            continue
        reason = excluded.get(folder.name) or ("not asked for" if folder.name in published else other)
        if folder.name == "test" and "test" in published:
            reason = "a test split is opened only when it is asked for by name"
        found = survey(plan.root, [folder.name])
        images = sum(one.path.lower().endswith(SUFFIXES) and not one.fault for one in found)
        reason = next((one.fault for one in found if one.path == f"{folder.name}/"), reason)
        plan.excluded.append((printable(folder.name), images, reason))


def _knees(files: list[str]) -> pd.DataFrame:
    """One row per knee, sorted by split (train, val, test first), patient and side."""
    table = pd.DataFrame({"file": pd.Series(files, dtype=str)})
    table[["split", "kl", "knee_id"]] = table["file"].str.extract(r"([^/]+)/(\d)/(.+)\.[^.]+$")
    table[["patient", "side"]] = table["knee_id"].str.extract(KNEE)
    table = table.astype({"kl": int})[["knee_id", "patient", "side", "split", "kl", "file"]]
    order = table.assign(first=table["split"].map(FIRST_SPLITS).fillna(len(FIRST_SPLITS)))
    return table.loc[order.sort_values(["first", "split", "patient", "side"]).index].reset_index(drop=True)
