"""Files of a data set: which there are, their hashes, many of them read at once."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WORKERS = min(8, (os.cpu_count() or 2) + 2)


def survey(root: Path, parts: Iterable[str]) -> list[tuple[str, int, int]]:
    """Path below `root`, size in bytes and time of last change (ns) of every file in these folders, sorted.

    Hidden files are left out. A changed, added or removed file changes the survey, and no file is opened for it.
    """
    found = []
    for part in parts:
        for file in glob.iglob(f"{glob.escape(part)}/**/*", root_dir=root, recursive=True):
            facts = os.stat(os.path.join(root, file))
            if not stat.S_ISDIR(facts.st_mode):
                found.append((file.replace(os.sep, "/"), facts.st_size, facts.st_mtime_ns))
    return sorted(found)


def hash_files(files: Iterable[Path], *, progress: bool = False) -> list[str]:
    """sha256 of each file's bytes as 64 hex digits, in order."""
    return in_threads(lambda file: hashlib.sha256(file.read_bytes()).hexdigest(), list(files), "checking", progress)


def in_threads(work: Callable, items: Sequence, doing: str, progress: bool) -> list:
    """Result of ``work(item)`` for every item, in order; reading and hashing release the interpreter's lock."""
    from rich.console import Console
    from rich.progress import track

    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(work, items)
        return list(track(results, doing, len(items), console=Console(stderr=True), disable=not progress))
