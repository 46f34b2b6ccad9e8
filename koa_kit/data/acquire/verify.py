"""Whether the files here are the published ones, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from koa_kit.data.files import hash_files, survey
from koa_kit.data.manifest import Entry, find_dataset, load_manifest
from koa_kit.errors import KoaError


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
    """Result of `verify_dataset`: one `SplitCheck` per split."""

    folder: Path
    splits: tuple[SplitCheck, ...]
    require: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if every split is complete, or absent altogether and not required."""
        bad = [check for check in self.splits if check.state != "complete"]
        return all(check.state == "absent" and check.split not in self.require for check in bad)

    def to_frame(self) -> pd.DataFrame:
        """One row per split: counts of files expected, found, missing, altered and extra, the state, if required."""
        extra = [{"state": check.state, "required": check.split in self.require} for check in self.splits]
        table = pd.DataFrame([vars(check) | more for check, more in zip(self.splits, extra, strict=True)])
        return table.assign(**table[["missing", "altered", "extra"]].map(len)).set_index("split")


def verify_dataset(
    name: str, *, data_dir: str | os.PathLike | None = None, require: Sequence[str] = (), progress: bool = False
) -> Verification:
    """Comparison of every published file of a data set with its sha256, summed up by split.

    Parameters
    ----------
    name, data_dir
        A data set whose file hashes the kit knows, and the folder that holds ``<name>/``, as in `load_cohort`.
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
        remedy = f"`koa data audit {name}` counts and compares what is there."
        raise KoaError(f"No file hashes are known for {name}, so it cannot be verified.", remedy=remedy)
    require = (require,) if isinstance(require, str) else tuple(require)
    if unknown := [split for split in require if split not in entry.counts]:
        raise KoaError(f"{name} has no split {unknown[0]!r}.", remedy=f"Choose from {', '.join(entry.counts)}.")
    folder = find_dataset(name, data_dir)
    return Verification(folder, check_files(entry, folder, progress=progress), require)


def check_files(entry: Entry, folder: Path, *, progress: bool = False) -> tuple[SplitCheck, ...]:
    """One `SplitCheck` per split of `entry` for the files under `folder`."""
    known = entry.file_hashes()
    here = [file for file in known if os.path.isfile(folder / file)]
    digests = dict(zip(here, hash_files([folder / file for file in here], progress=progress), strict=True))
    checks = []
    for split in entry.counts:
        listed = [file for file in known if file.startswith(f"{split}/")]
        missing = tuple(file for file in listed if file not in digests)
        altered = tuple(file for file in listed if file in digests and digests[file] != known[file])
        extra = tuple(one.path for one in survey(folder, [split]) if one.path not in known and not one.fault)
        checks.append(SplitCheck(split, len(listed), len(listed) - len(missing), missing, altered, extra))
    return tuple(checks)
