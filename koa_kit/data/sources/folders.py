"""The layout ``split/grade/<patient><L|R>.png``: a published data set with known hashes, or a user's own images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from koa_kit.data.manifest import Entry, load_manifest
from koa_kit.data.radiograph import SUFFIXES, decode_radiograph
from koa_kit.data.sources.plan import Plan, survey
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

ONLY_BY_NAME = "a test split is opened only when it is asked for by name"
KNEE = re.compile(r"(?P<patient>.+)(?P<side>[LR])")


def split_folders(root: Path) -> list[str]:
    """Folders under `root` that hold at least one grade folder, sorted, ``train``, ``val`` and ``test`` first."""
    found = [
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and any((folder / str(kl)).is_dir() for kl in GRADES)
    ]
    return sorted(found, key=_split_order)


def choose_splits(name: str, root: Path, splits: Sequence[str] | None, entry: Entry | None = None) -> list[str]:
    """Splits to read: those asked for, else the data set's default, else every split folder but the test ones."""
    here = split_folders(root)
    known = entry.splits if entry else here
    if splits is None:
        chosen = list(entry.default_splits) if entry else [one for one in here if one not in ("test", "auto_test")]
    else:
        chosen = [splits] if isinstance(splits, str) else list(dict.fromkeys(splits))
    if unknown := [split for split in chosen if split not in known]:
        raise KoaError(
            f"{name} has no split {unknown[0]!r}.", where=root, remedy=f"Choose from {', '.join(known) or 'none'}."
        )
    if not chosen:
        raise KoaError(
            "There is no split to read.",
            where=root,
            remedy="Lay the images out as split/grade/<patient><L|R>.png, for example val/2/P01L.png. A test split is "
            'opened by name: splits=("test",).',
        )
    return chosen


def plan_published(entry: Entry, root: Path, splits: list[str]) -> Plan:
    """Plan for a data set whose files and hashes are published: exactly the listed files of these splits."""
    size = entry.pixels.size
    listing = [file for file, _, _ in survey(root, splits)]
    here = set(listing)
    known = {file: digest for file, digest in entry.file_hashes().items() if PurePosixPath(file).parts[0] in splits}
    plan = Plan(
        name=entry.name,
        root=root,
        knees=pd.DataFrame(),
        shape=(size[1], size[0]),
        read=partial(_read, size=(size[1], size[0])),
        hashes=known,
        remedy=f"Run `koa data fetch {entry.name}`: it fetches only what is missing or altered.",
    )
    absent = _missing_folders(plan, splits)
    plan.problems += [
        f"{file}: missing" for file in known if file not in here and not any(file.startswith(part) for part in absent)
    ]
    for file in listing:
        if file not in known:
            plan.leave_out(file, 1, "not among the published files")
    _leave_out_other_folders(plan, splits, entry)
    plan.knees = _table(plan, [file for file in known if file in here])
    return plan


def plan_own(name: str, root: Path, splits: list[str], size: int) -> Plan:
    """Plan for a user's own images: every file of these splits must be a knee, no hashes are known."""
    plan = Plan(name=name, root=root, knees=pd.DataFrame(), shape=(size, size), read=partial(_read, size=size))
    plan.remedy = f"Put these right. Every image must be {size} x {size}; another size is given as `size`."
    _missing_folders(plan, splits)
    knees: dict[tuple[str, str], str] = {}
    for file, _, _ in survey(root, splits):
        path = PurePosixPath(file)
        match = KNEE.fullmatch(path.stem)
        if len(path.parts) != 3 or path.parts[1] not in map(str, GRADES):
            plan.problems.append(f"{file}: not in a grade folder 0 to 4")
        elif path.suffix.lower() not in SUFFIXES:
            plan.problems.append(f"{file}: no image file ({', '.join(SUFFIXES)})")
        elif not match:
            plan.problems.append(f"{file}: the name does not end in L or R, so the side is unknown")
        elif (other := knees.setdefault((path.parts[0], path.stem), file)) != file:
            plan.problems.append(f"{file}: the same knee as {other}")
    _leave_out_other_folders(plan, splits, load_manifest()["oai-kl224"])
    plan.knees = _table(plan, list(knees.values()))
    return plan


def _read(data: bytes, where: str, *, size: int | tuple[int, int]):
    return decode_radiograph(data, where=where, size=size)


def _missing_folders(plan: Plan, splits: list[str]) -> list[str]:
    """Note every absent split or grade folder as a problem; gives their paths, ending in a slash."""
    absent = []
    for split in splits:
        if not (plan.root / split).is_dir():
            plan.problems.append(f"{split}: the split is not here")
            absent.append(f"{split}/")
            continue
        for kl in GRADES:
            if not (plan.root / split / str(kl)).is_dir():
                plan.problems.append(f"{split}/{kl}: the grade folder is missing")
                absent.append(f"{split}/{kl}/")
    return absent


def _leave_out_other_folders(plan: Plan, splits: list[str], entry: Entry) -> None:
    for folder in sorted(plan.root.iterdir()):
        if not folder.is_dir() or folder.name.startswith(".") or folder.name in splits:
            continue
        reason = entry.excluded.get(folder.name) or (ONLY_BY_NAME if folder.name == "test" else "not asked for")
        if folder.name not in entry.splits and folder.name not in entry.excluded:
            reason = "not part of the data set" if plan.hashes else "not asked for, or holds no grade folders"
        images = sum(file.lower().endswith(SUFFIXES) for file, _, _ in survey(plan.root, [folder.name]))
        plan.leave_out(folder.name, images, reason)


def _table(plan: Plan, files: list[str]) -> pd.DataFrame:
    rows = []
    for file in files:
        split, kl, stem = PurePosixPath(file).with_suffix("").parts
        knee = KNEE.fullmatch(stem)
        rows.append((stem, knee["patient"], knee["side"], split, int(kl), file))
    table = pd.DataFrame(rows, columns=["knee_id", "patient", "side", "split", "kl", "file"])
    place = {split: number for number, split in enumerate(sorted(table["split"].unique(), key=_split_order))}
    order = table.assign(place=table["split"].map(place)).sort_values(["place", "patient", "side"]).index
    return table.loc[order].reset_index(drop=True)


def _split_order(split: str) -> tuple[int, str]:
    return {"train": 0, "val": 1, "test": 2}.get(split, 3), split
