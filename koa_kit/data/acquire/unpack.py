"""Taking a data set's files out of an archive or a folder: only the wanted ones, under their own names, hash first."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import partial
from pathlib import Path
from typing import Any

from koa_kit import paths
from koa_kit.data.files import ODD, printable
from koa_kit.engine.scratch import scratch_folder
from koa_kit.errors import KoaError

LARGEST_IMAGE = 64 << 20
"""Bytes; a longer member is no image of these data sets and is not unpacked."""

MOST_UNPACKED = 16 << 30
"""Bytes that one source may unpack to; the largest archive that is known has about 7 GB."""

MOST_ARCHIVES = 100
"""Archives inside an archive; those inside them are not opened."""

UNSAFE = re.compile(r"^[\\/]|^[A-Za-z]:|(?:^|[\\/])\.\.(?:[\\/]|$)")
"""Names, with slashes of either kind, that lead out of the folder they are unpacked to."""

Wanted = dict[str, str | None]
"""sha256 by file; instead of a file a pattern, whose sha256 is None."""


def take_files(source: Path, wanted: Wanted, folder: Path, *, prefix: str = "") -> int:
    """Number of wanted files written to `folder` from a zip (and zips in it) or an unpacked folder.

    The publisher's folders before the layout are dropped: ``…/kneeKL224/train/0/9003126L.png`` becomes
    ``train/0/9003126L.png``. Where several files end alike, the one whose sha256 fits is taken, `prefix` first.

    Raises
    ------
    KoaError
        If the source is not there, is no zip or leads outside; if files in it are damaged, after the others were taken;
        or if it unpacks to more than such a data set can.
    """
    with scratch_folder(folder.parent) as work:
        taking = _Taking(wanted, folder, prefix, work)
        if os.path.isdir(source):
            files = sorted(path for path in source.rglob("*.png") if os.path.isfile(path))
            taking.take((path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes) for path in files)
        elif os.path.isfile(source):
            taking.unpack(source)
        else:
            raise KoaError("It does not exist.")
        if taking.damage:
            raise taking.damage
        return len(taking.taken)


class _Taking:
    """What was taken from one source so far, and the first damage that was found in it."""

    def __init__(self, wanted: Wanted, folder: Path, prefix: str, work: Path):
        self.wanted, self.folder, self.prefix, self.work = wanted, folder, prefix, work
        patterns = [translate(pattern) for pattern, digest in wanted.items() if digest is None]
        self.pattern = re.compile("|".join(patterns) or r"(?!)")
        self.taken: set[str] = set()
        self.unpacked = 0
        self.damage: KoaError | None = None

    def unpack(self, source: Path, inside: bool = False) -> None:
        """Take what is wanted out of a zip and, unless it was `inside` another, out of the zips in it."""
        with _read(source.name, partial(zipfile.ZipFile, source)) as archive:
            members = archive.infolist()
            if unsafe := next((member.filename for member in members if UNSAFE.search(member.filename)), None):
                raise KoaError(
                    "The archive holds a path that leads outside its folder; nothing was unpacked.",
                    where=f"{source.name}: {printable(unsafe)}",
                    remedy="Do not use this archive.",
                )
            self.take((member.filename, member.file_size, partial(archive.read, member)) for member in members)
            archives = [member for member in members if member.filename.lower().endswith(".zip")]
            if len(archives) > MOST_ARCHIVES:
                raise KoaError(f"It holds {len(archives)} archives: that is no archive of knees.", where=source.name)
            for member in () if inside else archives:
                if len(self.taken) < len(self.wanted):
                    self.unpack_inner(archive, member)

    def unpack_inner(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        """Take what is wanted out of a zip inside a zip."""
        self.allow(member.file_size)
        inner = self.work / "inner.zip"
        try:
            with _read(member.filename, partial(archive.open, member)) as packed, inner.open("wb") as unpacked:
                while chunk := _read(member.filename, partial(packed.read, 1 << 20)):
                    unpacked.write(chunk)
            self.unpack(inner, inside=True)
        except KoaError as error:
            self.damage = self.damage or error
        finally:
            inner.unlink(missing_ok=True)

    def take(self, offers: Iterable[tuple[str, int, Callable]]) -> None:
        """Write the wanted ones of these files; an offer is a file's name, its size in bytes and what reads it."""
        for name, size, read in sorted(offers, key=lambda offer: self.prefix not in offer[0]):
            target = self.target(name)
            if target is None or target in self.taken or size > LARGEST_IMAGE:
                continue
            self.allow(size)
            try:
                data = _read(name, read)
            except KoaError as error:
                self.damage = self.damage or error
                continue
            if self.wanted.get(target) in (None, hashlib.sha256(data).hexdigest()):
                with paths.replacing(self.folder / target, self.work) as temporary:
                    temporary.write_bytes(data)
                self.taken.add(target)

    def target(self, name: str) -> str | None:
        """Path below the data set's folder of a file offered as `name`, or None if it is not wanted."""
        target = "/".join(name.split("/")[-3:])
        if self.wanted.get(target):
            return target
        hidden = target.rpartition("/")[2].startswith(".")
        return target if self.pattern.fullmatch(target) and not hidden and not ODD.search(target) else None

    def allow(self, size: int) -> None:
        """Count bytes to be unpacked; raise `KoaError` if these are too many."""
        self.unpacked += size
        if self.unpacked > MOST_UNPACKED:
            raise KoaError(f"It unpacks to more than {MOST_UNPACKED >> 30} GB: that is no archive of knees.")


def _read(name: str, read: Callable) -> Any:
    """What `read` gives; whatever keeps it from doing so is told as a `KoaError`."""
    try:
        return read()
    except Exception as error:  # zipfile and what it unpacks with raise whatever they stumble on.
        reason = printable(str(error)) or type(error).__name__
        raise KoaError(f"The archive is damaged or no zip ({reason}).", where=printable(name)) from error
