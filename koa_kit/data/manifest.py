"""The manifest: what is known of each data set before an image is opened, and where it lies on this machine."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from koa_kit import paths
from koa_kit.configuration import plain_yaml
from koa_kit.errors import KoaError
from koa_kit.grades import LABEL_NAMES

HASHES = Path(__file__).parent / "hashes"
Count = Annotated[int, Field(ge=0)]
GradeCounts = Annotated[list[Count], Field(min_length=5, max_length=5)]


class Record(BaseModel):
    """Base of the records: no unknown key, no silent conversion (``True`` or 1.9 is no count), no change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Source(Record):
    """One place to get a data set: a URL or Kaggle handle, and the folder in its archive that holds the layout."""

    kind: Literal["url", "kaggle", "registration", "archive"]
    at: str
    size: str | None = None
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.at}" + (f" ({self.size})" if self.size else "")


class PixelContract(Record):
    """What an image file of the data set must be; ``None`` means that the files differ."""

    mode: Literal["L", "mixed"] = "L"
    bits: Literal[8, 16] | None = 8
    size: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    polarity: Literal["bone bright", "bone dark"] = "bone bright"
    inverted: dict[str, Count] = {}


class Entry(Record):
    """One data set: knees per grade of each split (``counts``), the reason for each part left out (``excluded``), and
    each expert's grade folders where two experts graded the same images (``folders``).
    """

    name: str = ""
    title: str
    version: str
    access: Literal["generated", "open", "gated"]
    licence: str
    citation: str
    layout: str
    doi: str | None = None
    sources: list[Source] = []
    folders: dict[str, list[str]] = {}
    label_names: Annotated[list[str], Field(min_length=5, max_length=5)] = list(LABEL_NAMES)
    counts: dict[str, GradeCounts] = {}
    patients: dict[str, Count] = {}
    patient_pattern: str | None = None
    pixels: PixelContract | None = None
    default_splits: list[str] = []
    excluded: dict[str, str] = {}
    hashes: str | None = None
    fingerprint: str | None = None
    notes: str = ""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Entry:
        if unknown := [split for split in (*self.default_splits, *self.patients) if split not in self.counts]:
            raise ValueError(f"counts lack the splits {unknown}")
        if bool(self.hashes) != bool(self.fingerprint):
            raise ValueError("hashes and fingerprint go together")
        try:
            re.compile(self.patient_pattern or "")
        except re.error as error:
            raise ValueError(f"patient_pattern is no regular expression: {error}") from error
        return self

    @property
    def n_images(self) -> int:
        """Number of published images; where two experts grade the same ones, they count once."""
        return sum(sum(self.counts[part]) for part in list(self.folders)[:1] or self.counts)

    def file_hashes(self) -> dict[str, str]:
        """sha256 of each published file by its path inside the data set; empty where none are known.

        The list has the format of ``sha256sum``, gzipped: unpacked in the data set's folder, ``--check`` reads it.
        """
        if not self.hashes:
            return {}
        try:
            text = gzip.decompress((HASHES / self.hashes).read_bytes())
            if hashlib.sha256(text).hexdigest()[:16] != self.fingerprint:
                raise ValueError("it was changed")
        except (OSError, EOFError, ValueError, zlib.error) as error:
            what = f"The list of file hashes cannot be used: {error}."
            remedy = "Install the kit again; the list is part of it."
            raise KoaError(what, where=HASHES / self.hashes, remedy=remedy) from error
        return dict(line.split("  ", 1)[::-1] for line in text.decode("ascii").splitlines())


class Manifest(dict[str, Entry]):
    """All data sets the kit knows, by name; an unknown name is a `KoaError` that lists them."""

    def __missing__(self, name: str) -> Entry:
        choices = f"Choose from {', '.join(self)}."
        raise KoaError(f"There is no data set {name!r} in the manifest.", where="data_manifest.yaml", remedy=choices)


def load_manifest(path: str | os.PathLike | None = None) -> Manifest:
    """Manifest in `path`, or the kit's own; `KoaError` names every key that is unknown, missing or of a wrong type."""
    path = Path(path) if path else paths.resource("data_manifest.yaml")
    return _read_manifest(path, path.stat().st_mtime_ns if path.exists() else 0)


def find_dataset(name: str, data_dir: str | os.PathLike | None = None) -> Path:
    """Folder of the data set `name` that holds its splits (or its tables), in `data_dir` or the usual place.

    The publisher's own inner folders (``ClsKLData/kneeKL224``) are looked through; `KoaError` says how to get it.
    """
    entry = load_manifest()[name]
    if entry.access == "generated":
        raise KoaError(f"{name} is drawn by the kit and lies in no folder.", remedy=f'Call load_cohort("{name}").')
    home = paths.data_dir(data_dir)
    folder = home / name
    for candidate in (folder, *(folder / source.prefix for source in entry.sources)):
        if any(os.path.isdir(candidate / part) for part in entry.counts):
            return candidate
    if not entry.counts and os.path.isdir(folder) and any(folder.iterdir()):
        return folder
    raise KoaError(f"The data set {name} is not here.", where=folder, remedy=how_to_get(entry, home))


def how_to_get(entry: Entry, home: Path) -> str:
    """The command to run, or the place to put the files; says so if `home` is the data set's own folder by mistake."""
    if any(os.path.isdir(home / split) for split in entry.counts):
        return f"{home} looks like the data set itself: set KOA_DATA_DIR to a folder that holds it as {entry.name}/."
    place = f"put the files at {home / entry.name} as {entry.layout}"
    if entry.access == "gated":
        return f"Register at {entry.sources[0].at}, then {place}."
    return f"Run `koa data fetch {entry.name}`, or set KOA_DATA_DIR to the folder above it, or {place}."


class _File(Record):
    manifest: Literal[1]
    datasets: dict[str, Entry]


@lru_cache(maxsize=4)
def _read_manifest(path: Path, _changed: int) -> Manifest:
    try:
        known = _File.model_validate(plain_yaml(paths.plain_file(path).read_text(encoding="utf-8"))).datasets
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors())
        raise KoaError("The manifest is not valid.", where=f"{path}: {faults}", remedy="Correct these keys.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise KoaError(f"The manifest cannot be read: {error}", where=path, remedy="Restore the file.") from error
    return Manifest({name: entry.model_copy(update={"name": name}) for name, entry in known.items()})
