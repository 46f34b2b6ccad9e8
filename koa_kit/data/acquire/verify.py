"""Whether the files here are the published ones, byte for byte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from koa_kit.data.locate import find_dataset
from koa_kit.data.manifest import Entry, load_manifest
from koa_kit.errors import KoaError

WORKERS = min(8, (os.cpu_count() or 2) + 2)


@dataclass(frozen=True)
class SplitCheck:
    """One split's files: how many are published (`expected`), how many of them are here (`found`), which are wrong."""

    split: str
    expected: int
    found: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def state(self) -> Literal["complete", "partial", "absent"]:
        """``complete`` if every published file is here unaltered, ``absent`` if none is here, else ``partial``."""
        if not self.found:
            return "absent"
        return "partial" if self.missing or self.altered else "complete"


@dataclass(frozen=True)
class Verification:
    """Result of `verify`: one `SplitCheck` a split."""

    name: str
    folder: Path
    splits: tuple[SplitCheck, ...]
    require: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if no file is altered, no split is there only in part and every required split is complete.

        A split that is absent altogether is no fault unless it is required.
        """
        return all(
            not check.altered
            and (check.state == "complete" or (check.state == "absent" and check.split not in self.require))
            for check in self.splits
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a split: counts of files expected, found, missing, altered and extra, and the state."""
        rows = [
            {
                "split": check.split,
                "expected": check.expected,
                "found": check.found,
                "missing": len(check.missing),
                "altered": len(check.altered),
                "extra": len(check.extra),
                "state": check.state,
                "required": check.split in self.require,
            }
            for check in self.splits
        ]
        return pd.DataFrame(rows).set_index("split")


def file_sha256(path: str | os.PathLike) -> str:
    """sha256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    require: Sequence[str] = (),
    progress: bool = False,
) -> Verification:
    """Every published file of a data set compared with its sha256, summed up by split.

    Parameters
    ----------
    name
        A data set whose file hashes the kit knows.
    data_dir
        Folder that holds ``<name>/``; omitted, ``KOA_DATA_DIR`` or the user's data folder.
    require
        Splits that must be complete; the others may be absent.
    progress
        Show a progress bar on stderr.

    Raises
    ------
    KoaError
        If the data set is not here, no hashes are known for it, or `require` names an unknown split.
    """
    entry = load_manifest()[name]
    if not entry.hashes:
        raise KoaError(
            f"No file hashes are known for {name}, so it cannot be verified.",
            remedy=f"`koa data audit {name}` counts and compares what is there.",
        )
    require = (require,) if isinstance(require, str) else tuple(require)
    if unknown := [split for split in require if split not in entry.splits]:
        raise KoaError(f"{name} has no split {unknown[0]!r}.", remedy=f"Choose from {', '.join(entry.splits)}.")
    folder = find_dataset(name, data_dir)
    return Verification(name, folder, check_files(entry, folder, progress=progress), require)


def check_files(entry: Entry, folder: Path, *, progress: bool = False) -> tuple[SplitCheck, ...]:
    """One `SplitCheck` a split of `entry` for the files under `folder`."""
    known = entry.file_hashes()
    here = [file for file in known if (folder / file).is_file()]
    digests = dict(zip(here, hash_files([folder / file for file in here], progress=progress), strict=True))
    checks = []
    for split in entry.splits:
        listed = [file for file in known if PurePosixPath(file).parts[0] == split]
        checks.append(
            SplitCheck(
                split=split,
                expected=len(listed),
                found=sum(file in digests for file in listed),
                missing=tuple(file for file in listed if file not in digests),
                altered=tuple(file for file in listed if file in digests and digests[file] != known[file]),
                extra=tuple(file for file in _files_under(folder, split) if file not in known),
            )
        )
    return tuple(checks)


def hash_files(files: Iterable[Path], *, progress: bool = False) -> list[str]:
    """sha256 of each file, in order; hashing and reading release the interpreter's lock, so threads help."""
    from rich.console import Console
    from rich.progress import track

    files = list(files)
    with ThreadPoolExecutor(WORKERS) as pool:
        digests = pool.map(file_sha256, files)
        shown = track(digests, "checking", len(files), console=Console(stderr=True), disable=not progress)
        return list(shown)


def _files_under(folder: Path, part: str) -> list[str]:
    found = (path.relative_to(folder) for path in (folder / part).rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(step.startswith(".") for step in path.parts))
