"""Where a data set lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from koa_kit import paths
from koa_kit.data.manifest import Entry, load_manifest
from koa_kit.errors import KoaError


def find_dataset(name: str, data_dir: str | os.PathLike | None = None) -> Path:
    """Folder of the data set `name`, the one that holds its splits (or its tables).

    Looks for ``<data folder>/<name>``, where the data folder is `data_dir`, else ``KOA_DATA_DIR``, else the user's data
    folder; the publisher's own inner folders (``ClsKLData/kneeKL224``) are looked through. Raises `KoaError` saying how
    to get the data set if it is not there.
    """
    entry = load_manifest()[name]
    home = paths.data_dir(data_dir)
    if entry.access == "generated":
        raise KoaError(f"{name} is drawn by the kit and lies in no folder.", remedy=f'Call load_cohort("{name}").')
    for folder in (home / name, *(home / name / source.prefix for source in entry.sources if source.prefix)):
        if folder.is_dir() and any((folder / part).is_dir() for part in entry.splits):
            return folder
    folder = home / name
    if not entry.counts and folder.is_dir() and any(folder.iterdir()):
        return folder
    raise KoaError(f"The data set {name} is not here.", where=folder, remedy=how_to_get(entry, home))


def how_to_get(entry: Entry, home: Path) -> str:
    """Two or three sentences: the command to run, the place to put the files, a wrong folder noticed."""
    if any((home / split).is_dir() for split in entry.splits):
        return f"{home} looks like the data set itself: set KOA_DATA_DIR to a folder that holds it as {entry.name}/."
    place = f"put the files at {home / entry.name} as {entry.layout}"
    if entry.access == "gated":
        return f"Register at {entry.sources[0].at}, then {place}."
    return f"Run `koa data fetch {entry.name}`, or set KOA_DATA_DIR to the folder above it, or {place}."
