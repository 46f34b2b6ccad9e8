"""Files of a data set: which there are, what keeps one from being read, their hashes, many of them read at once."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from koa_kit.paths import DISK_FULL, sha256_of

WORKERS = min(8, (os.cpu_count() or 2) + 2)
HIDDEN = "a hidden file or folder"
ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters of names that no table or terminal can show: controls, line breaks, bytes that are no text."""


class Found(NamedTuple):
    """What can be told of a file without opening it, or the `fault` that keeps one from doing so."""

    path: str  # below the data set's folder, with slashes; a folder's, where that is at fault, ends in one
    size: int = 0  # bytes
    modified: int = 0  # time of the last writing, ns
    changed: int = 0  # time of the last change of any kind, ns, which nobody can set; on Windows of creation
    inode: int = 0
    fault: str = ""


def survey(root: Path, parts: Iterable[str]) -> list[Found]:
    """Every file in these folders of `root`, sorted by path; no file is opened, and nothing in a folder can stop it.

    A changed, added, removed or exchanged file changes the survey, also one of the same size whose time was set back.
    Of hidden files and folders only the names are told, so that a file browser's notes change nothing.
    """
    found: list[Found] = []
    folders: list[tuple[str, tuple]] = [(part, ()) for part in parts]
    while folders:
        folder, above = folders.pop()
        try:
            facts = os.stat(os.path.join(root, folder))
            here = (facts.st_dev, facts.st_ino)
            if here in above:
                found.append(Found(f"{folder}/", fault="a link to a folder above it"))
                continue
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    one = _look_at(entry, f"{folder}/{entry.name}")
                    folders.append((one, (*above, here))) if isinstance(one, str) else found.append(one)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found.append(Found(f"{folder}/", fault=f"the folder cannot be read ({error.strerror})"))
    return sorted(found)


def _look_at(entry: os.DirEntry, path: str) -> Found | str:
    """What a folder's entry is, or its path if it is a folder itself."""
    if entry.name.startswith("."):
        return Found(path, fault=HIDDEN)
    try:
        if entry.is_dir():
            return path
        facts = entry.stat()
    except OSError as error:
        return Found(path, fault="a link that leads nowhere" if entry.is_symlink() else f"{error.strerror}")
    fault = "" if stat.S_ISREG(facts.st_mode) else "no file but a pipe, a socket or a device"
    return Found(path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, fault)


def printable(text: str) -> str:
    """The text, with what cannot be shown (`ODD`) spelt out: a line break as ``\\n``, a stray byte as ``\\udcff``."""
    return ODD.sub(lambda odd: odd[0].encode("unicode_escape").decode("ascii"), text)


def reserve(file: Path) -> None:
    """Take the disk space of a file as long as it says it is: a mapped one that runs out of it kills the process."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno in DISK_FULL:  # Anything else: this file system cannot promise space.
                    raise


def hash_files(files: Iterable[Path], *, progress: bool = False) -> list[str]:
    """sha256 of each file's bytes as 64 hex digits, in order; empty for one that cannot be read."""
    return in_threads(_sha256, list(files), "checking", progress)


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError:
        return ""


def in_threads(work: Callable, items: Sequence, doing: str, progress: bool) -> list:
    """Result of ``work(item)`` for every item, in order; reading and hashing release the interpreter's lock."""
    from rich.console import Console
    from rich.progress import track

    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(work, items)
        return list(track(results, doing, len(items), console=Console(stderr=True), disable=not progress))
