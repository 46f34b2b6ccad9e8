"""Folders to work in that leave nothing behind: what a killed process left is removed when the next one starts."""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
OWN = f".koa-{'[0-9a-f]' * 8}-{'[0-9a-f]' * 8}*"
"""What the folders of `scratch_folder` and their locks are called: the machine's mark, then one of their own."""

ABANDONED_DAYS = 7


@contextmanager
def alone(lock: Path, *, timeout: float = -1) -> Iterator[None]:
    """Run the block in one of all processes that name this file at a time; the file is gone afterwards.

    The system takes the lock from a process that dies. Raises `filelock.Timeout` after `timeout` seconds of waiting,
    where one is given.
    """
    with FileLock(lock, timeout=timeout):
        try:
            yield
        finally:
            # Before the lock is let go: who waits for it sees that it has lost its name and makes a new one.
            with suppress(OSError):  # Windows removes no open file.
                lock.unlink()


@contextmanager
def scratch_folder(home: Path, litter: str = OWN) -> Iterator[Path]:
    """New folder in `home` to work in; it is removed at the end, however the block ends, unless the process is killed.

    What killed processes left in `home` is removed first: whatever matches the pattern `litter` and belongs to a
    process of this machine that holds its lock no more; where there is no lock to ask (it was made on another machine,
    or by an earlier version), what has not changed for `ABANDONED_DAYS`.
    """
    home.mkdir(parents=True, exist_ok=True)
    for path in {path.with_suffix("") if path.suffix == ".lock" else path for path in home.glob(litter)}:
        with suppress(OSError, Timeout):
            _remove_if_abandoned(path)
    folder = home / f".koa-{HOST}-{uuid.uuid4().hex[:8]}"
    with alone(_lock_of(folder)):
        # Only now, so that nobody ever sees the folder of a living process without a lock.
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _remove_if_abandoned(path: Path) -> None:
    if path.name.startswith(f".koa-{HOST}-") and _lock_of(path).exists():
        with alone(_lock_of(path), timeout=0):
            _remove(path)
    elif time.time() - _last_change(path) > ABANDONED_DAYS * 86_400:
        _remove(path)
        _lock_of(path).unlink(missing_ok=True)


def _last_change(path: Path) -> float:
    """Latest time of change of a file or folder and all that is in it, in seconds as `time.time` counts them."""
    return max(one.lstat().st_mtime for one in (path, *path.rglob("*")))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
