"""Seals on computed files: whether a file still is what was written, told without reading it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from koa_kit.errors import KoaError
from koa_kit.paths import replacing, sha256_of

TICK_NS = 100_000_000
"""Clocks of file systems move in steps of up to 10 ms: two changes within this time may look like one."""


def seal(path: Path, files: Sequence[Path], within: Path | None = None) -> None:
    """Write to `path` each file's sha256, and how the system knows it; the files are on the disk for good then.

    `within` is as in `koa_kit.paths.replacing`.
    """
    for file in files:
        with file.open("r+b") as written:
            os.fsync(written.fileno())
    _write(path, {file.name: {"identity": identity(file), "sha256": sha256_of(file)} for file in files}, within)


def unbroken(path: Path, files: Sequence[Path], *, thorough: bool = False) -> bool:
    """True if the seal at `path` is of these files, and none was changed since.

    A file of the same size, times and inode as when it was sealed is not read: on Linux and macOS nothing that writes
    to a file leaves its time of change (ctime) as it was, on Windows one that sets the time back goes unnoticed. A file
    that was moved, copied or restored has another identity: its sha256 is taken, and the seal renewed if it is right.
    `thorough` takes it of every file, and so does a seal that was made within `TICK_NS` of the last change.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        now = {file.name: identity(file) for file in files}
        settled = path.stat().st_mtime_ns - TICK_NS
        if not thorough and all(known[name]["identity"] == now[name] and now[name][2] < settled for name in now):
            return True
        if any(known[file.name]["sha256"] != sha256_of(file) for file in files):
            return False
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # Absent, or damaged in whatever way.
        return False
    with suppress(OSError, KoaError):  # The cache may be read-only.
        if all(known[name]["identity"] == now[name] for name in now):
            os.utime(path)  # By now the last change is long enough ago.
        else:
            _write(path, {name: {"identity": now[name], "sha256": known[name]["sha256"]} for name in now})
    return True


def identity(file: str | os.PathLike) -> list[int]:
    """Size in bytes, times of the last writing and of the last change of any kind (ns), and inode of a file."""
    facts = os.stat(file)
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _write(path: Path, content: dict, within: Path | None = None) -> None:
    with replacing(path, within) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
