"""Cohorts kept on disk: one memory-mapped array and one table, replaced as a whole or not at all."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit import paths
from koa_kit.cohort import Cohort, excluded_table
from koa_kit.errors import KoaError

IMAGES, TABLE = "images.npy", "table.parquet"


def cached(name: str, recipe: dict, build: Callable[[Path], Cohort], cache_dir: str | os.PathLike | None) -> Cohort:
    """Cohort `name` made from `recipe` before, or by ``build(folder)`` now; opened from the cache either way.

    A note ``<name>-<recipe's hash>.json`` says which folder ``<name>-<fingerprint>`` holds the result: the same files
    under another date or path share one copy. Processes that build at once do the work twice and agree. `recipe` is all
    that the result depends on, as JSON can hold it; `build` may write ``images.npy`` into the folder it is given.
    """
    home = paths.cache_dir(cache_dir) / "cohorts"
    label = re.sub(r"[^\w.-]+", "_", name)
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    note = home / f"{label}-{key}.json"
    if (cohort := _open(name, home, note)) is not None:
        return cohort
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=f".{label}-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / "cohort"
            folder.mkdir()
            cohort = build(folder)
            if not (folder / IMAGES).exists():
                np.save(folder / IMAGES, cohort.images, allow_pickle=False)
            cohort.table.to_parquet(folder / TABLE, index=False)
            content = {"folder": f"{label}-{cohort.fingerprint}", "excluded": cohort.excluded.to_dict("records")}
            del cohort  # Windows renames no folder while an array in it is mapped.
            _publish(folder, home / content["folder"])
        with paths.replacing(note) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise KoaError(
            f"The cache cannot be written: {error.strerror or error}.",
            where=home,
            remedy="Free some space (about 350 MB for oai-kl224) or set KOA_CACHE_DIR to another folder.",
        ) from error
    if (cohort := _open(name, home, note)) is None:
        raise KoaError("The cohort was written and cannot be read back.", where=home, remedy="Check the disk.")
    return cohort


def _open(name: str, home: Path, note: Path) -> Cohort | None:
    """Cohort that a note points to; None if it was not made yet, or damaged since: it is made again."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        folder = home / content["folder"]
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        table = pd.read_parquet(folder / TABLE)
        excluded = excluded_table(content["excluded"])
        if len(images) != len(table):
            return None
    except (OSError, ValueError, KeyError):
        return None
    return Cohort(name, images, table, folder.name.rpartition("-")[2], excluded)


def _publish(folder: Path, final: Path) -> None:
    """Give a finished folder its name; one that stands there already is kept if equal and replaced if damaged."""
    if final.exists() and not _equal(folder, final):
        os.replace(final, folder.parent / "damaged")
    try:
        os.rename(folder, final)
    except OSError:
        if not _equal(folder, final):
            raise
        shutil.rmtree(folder)


def _equal(folder: Path, other: Path) -> bool:
    names = os.listdir(folder)
    return filecmp.cmpfiles(folder, other, names, shallow=False)[0] == names
