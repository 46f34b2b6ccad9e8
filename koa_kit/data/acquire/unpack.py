"""Taking a data set's files out of an archive or a folder: only the wanted ones, under their own names, hash first."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath

from koa_kit import paths
from koa_kit.errors import KoaError

LARGEST_IMAGE = 64 << 20
"""Bytes; a longer member is no image of these data sets and is not unpacked."""

Offer = tuple[str, int, Callable[[], bytes]]


def take_archive(
    archive: Path, wanted: dict[str, str | None], folder: Path, *, prefix: str = "", nested: bool = True
) -> int:
    """Number of wanted files taken from a zip into `folder`; zips inside it are opened too, one level deep.

    The publisher's folders before the layout are dropped: ``…/kneeKL224/train/0/9003126L.png`` becomes
    ``train/0/9003126L.png``. Where several members end alike, the one whose sha256 fits is taken, `prefix` first.
    Raises `KoaError` for a damaged zip, and before anything is written for a member whose path leads outside.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _refuse_unsafe(opened, archive)
            taken = _take(_members(opened), wanted, folder, prefix)
            for member in opened.namelist():
                if member.lower().endswith(".zip") and taken < len(wanted) and nested:
                    taken += _take_inner(opened, member, wanted, folder, prefix)
            return taken
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise KoaError(f"The archive is damaged or no zip ({error}).", where=archive.name) from error


def take_folder(source: Path, wanted: dict[str, str | None], folder: Path) -> int:
    """Number of wanted files copied from an unpacked folder; as `take_archive`, the source stays as it is."""
    files = sorted(path for path in source.rglob("*.png") if path.is_file())
    return _take(
        ((path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes) for path in files), wanted, folder
    )


def _take_inner(opened: zipfile.ZipFile, member: str, wanted, folder: Path, prefix: str) -> int:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".koa-") as scratch:
        inner = Path(scratch) / PurePosixPath(member).name
        with opened.open(member) as packed, inner.open("wb") as file:
            shutil.copyfileobj(packed, file)
        return take_archive(inner, wanted, folder, prefix=prefix, nested=False)


def _take(offers: Iterable[Offer], wanted: dict[str, str | None], folder: Path, prefix: str = "") -> int:
    candidates: dict[str, list[Offer]] = {}
    for offer in offers:
        target = _target(offer[0], wanted)
        if target and offer[1] <= LARGEST_IMAGE:
            candidates.setdefault(target, []).append(offer)
    taken = 0
    for target, group in candidates.items():
        digest = wanted.get(target)
        for _name, _size, read in sorted(group, key=lambda offer: bool(prefix) and prefix not in offer[0]):
            data = read()
            if digest is None or hashlib.sha256(data).hexdigest() == digest:
                with paths.replacing(folder / target) as temporary:
                    temporary.write_bytes(data)
                taken += 1
                break
    return taken


def _target(name: str, wanted: dict[str, str | None]) -> str | None:
    """Path below the data set's folder of a file offered as `name`, or None if it is not wanted."""
    parts = PurePosixPath(name).parts
    ending = "/".join(parts[-3:])
    if len(parts) < 3 or parts[-1].startswith("."):
        return None
    if ending in wanted:
        return ending
    patterns = (pattern for pattern, digest in wanted.items() if digest is None)
    return ending if any(fnmatchcase(ending, pattern) for pattern in patterns) else None


def _members(opened: zipfile.ZipFile) -> list[Offer]:
    files = (member for member in opened.infolist() if not member.is_dir())
    return [(member.filename, member.file_size, lambda member=member: opened.read(member)) for member in files]


def _refuse_unsafe(opened: zipfile.ZipFile, archive: Path) -> None:
    for name in opened.namelist():
        outside = ".." in PurePosixPath(name.replace("\\", "/")).parts
        if outside or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
            raise KoaError(
                "The archive holds a path that leads outside its folder; nothing was unpacked.",
                where=f"{archive.name}: {name}",
                remedy="Do not use this archive.",
            )
