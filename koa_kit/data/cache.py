"""Cohorts kept on disk: one memory-mapped array and one table, replaced as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit import paths
from koa_kit.cohort import Cohort, excluded_table
from koa_kit.engine.scratch import scratch_folder
from koa_kit.engine.seals import seal, unbroken
from koa_kit.errors import KoaError

IMAGES, TABLE, SEAL = "images.npy", "table.parquet", "seal.json"
LONGEST_LABEL = 40
"""Characters, of at most four bytes each: what is added to it must fit into a file name of 255 bytes."""


def cached(name: str, recipe: dict, build: Callable[[Path], Cohort], cache_dir: str | os.PathLike | None) -> Cohort:
    """Cohort `name` made from `recipe` before, or by ``build(folder)`` now; opened from the cache either way.

    A note ``<name>-<recipe's hash>.json`` says which folder ``<name>-<fingerprint>`` holds the result: the same files
    under another date or path share one copy. Processes that build at once do the work twice and agree. `recipe` is all
    that the result depends on, as JSON can hold it; `build` may write ``images.npy`` into the folder it is given. What
    was changed or damaged since is made again: see `koa_kit.engine.seals`.
    """
    home = paths.cache_dir(cache_dir) / "cohorts"
    label = re.sub(r"[^\w.-]+", "_", name)[:LONGEST_LABEL]
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    note = home / f"{label}-{key}.json"
    if (cohort := _open(name, home, note)) is not None:
        return cohort
    try:
        with scratch_folder(home, ".*") as work:
            folder = work / "cohort"
            folder.mkdir()
            cohort = build(folder)
            if not (folder / IMAGES).exists():
                np.save(folder / IMAGES, cohort.images, allow_pickle=False)
            cohort.table.to_parquet(folder / TABLE, index=False)
            content = {"folder": f"{label}-{cohort.fingerprint}", "excluded": cohort.excluded.to_dict("records")}
            del cohort  # Windows renames no folder while an array in it is mapped.
            seal(folder / SEAL, _parts(folder))
            _publish(folder, home / content["folder"])
            with paths.replacing(note, work) as temporary:
                temporary.write_text(json.dumps(content | {"sha256": _digest(content)}, indent=1), encoding="utf-8")
    except OSError as error:
        file = str(error.filename or home)
        if not file.startswith(str(home)) and not str(home).startswith(file):
            raise  # It is not the cache that makes trouble.
        raise KoaError(
            f"The cache cannot be written: {error.strerror or error}.",
            where=home,
            remedy="Free some space (about 350 MB for oai-kl224) or set KOA_CACHE_DIR to another folder.",
        ) from error
    if (cohort := _open(name, home, note)) is None:
        raise KoaError("The cohort was written and cannot be read back.", where=home, remedy="Check the disk.")
    return cohort


def _open(name: str, home: Path, note: Path) -> Cohort | None:
    """Cohort that a note points to; None if it was not made yet, or changed since: it is made again."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        if content.pop("sha256") != _digest(content):
            return None
        folder = home / content["folder"]
        if not unbroken(folder / SEAL, _parts(folder)):
            return None
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        table = pd.read_parquet(folder / TABLE)
        excluded = excluded_table(content["excluded"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return Cohort(name, images, table, folder.name.rpartition("-")[2], excluded)


def _parts(folder: Path) -> list[Path]:
    return [folder / IMAGES, folder / TABLE]


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _publish(folder: Path, final: Path) -> None:
    """Give a finished folder its name; one that stands there already is kept if whole and replaced if damaged."""
    if final.exists():
        if unbroken(final / SEAL, _parts(final), thorough=True):
            return
        os.replace(final, folder.parent / "damaged")
    try:
        os.rename(folder, final)
    except OSError:  # Another process was faster.
        if not unbroken(final / SEAL, _parts(final), thorough=True):
            raise
