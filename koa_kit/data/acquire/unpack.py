"""Taking a data set's files out of an archive or a folder: only the wanted ones, under their own names, hash first."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from koa_kit import paths
from koa_kit.errors import KoaError

LARGEST_IMAGE = 64 << 20
"""Bytes; a longer member is no image of these data sets and is not unpacked."""

Wanted = dict[str, str | None]
"""sha256 by file; instead of a file a pattern, whose sha256 is None."""


def take_files(source: Path, wanted: Wanted, folder: Path, *, prefix: str = "", nested: bool = True) -> int:
    """Number of wanted files written to `folder` from a zip (and zips in it) or an unpacked folder.

    The publisher's folders before the layout are dropped: ``…/kneeKL224/train/0/9003126L.png`` becomes
    ``train/0/9003126L.png``. Where several files end alike, the one whose sha256 fits is taken, `prefix` first.
    """
    if source.is_dir():
        files = sorted(path for path in source.rglob("*.png") if path.is_file())
        offers = ((path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes) for path in files)
        return _take(offers, wanted, folder, prefix)
    if not source.is_file():
        raise KoaError("It does not exist.")
    try:
        with zipfile.ZipFile(source) as archive:
            _refuse_unsafe(archive.namelist(), source)
            members = [member for member in archive.infolist() if not member.is_dir()]
            offers = ((member.filename, member.file_size, partial(archive.read, member)) for member in members)
            taken = _take(offers, wanted, folder, prefix)
            for member in members:
                if nested and member.filename.lower().endswith(".zip") and taken < len(wanted):
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".koa-") as scratch:
                        inner = Path(archive.extract(member, scratch))
                        taken += take_files(inner, wanted, folder, prefix=prefix, nested=False)
            return taken
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise KoaError(f"The archive is damaged or no zip ({error}).", where=source.name) from error


def _take(offers: Iterable[tuple[str, int, Callable]], wanted: Wanted, folder: Path, prefix: str) -> int:
    """Number of wanted files written; an offer is a file's name, its size in bytes and what reads it."""
    taken: set[str] = set()
    for name, size, read in sorted(offers, key=lambda offer: prefix not in offer[0]):
        target = _target(name, wanted)
        if target is None or target in taken or size > LARGEST_IMAGE:
            continue
        data = read()
        if wanted.get(target) in (None, hashlib.sha256(data).hexdigest()):
            with paths.replacing(folder / target) as temporary:
                temporary.write_bytes(data)
            taken.add(target)
    return len(taken)


def _target(name: str, wanted: Wanted) -> str | None:
    """Path below the data set's folder of a file offered as `name`, or None if it is not wanted."""
    parts = PurePosixPath(name).parts
    ending = "/".join(parts[-3:])
    if len(parts) < 3 or parts[-1].startswith("."):
        return None
    patterns = (pattern for pattern, digest in wanted.items() if digest is None)
    return ending if ending in wanted or any(fnmatchcase(ending, pattern) for pattern in patterns) else None


def _refuse_unsafe(names: list[str], archive: Path) -> None:
    for name in names:
        path = PureWindowsPath(name)  # Takes slashes, backslashes and drive letters alike.
        if ".." in path.parts or path.root or path.drive:
            raise KoaError(
                "The archive holds a path that leads outside its folder; nothing was unpacked.",
                where=f"{archive.name}: {name}",
                remedy="Do not use this archive.",
            )
