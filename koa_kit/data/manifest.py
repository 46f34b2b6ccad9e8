"""The manifest: what is known of each data set before a single image is opened."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from koa_kit import paths
from koa_kit.errors import KoaError
from koa_kit.grades import LABEL_NAMES

HASHES = Path(__file__).resolve().parent / "hashes"
GradeCounts = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=5, max_length=5)]


class Record(BaseModel):
    """Base of the manifest's records: no unknown key, no silent conversion, no later change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Source(Record):
    """One place a data set can be had from.

    ``at`` is a URL or a Kaggle handle, ``prefix`` the folder inside the publisher's archive that holds the layout.
    """

    kind: Literal["url", "kaggle", "registration"]
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
    inverted: dict[str, int] = {}


class Entry(Record):
    """One data set of the manifest; ``counts`` holds knees a grade in each split, ``excluded`` a reason a part."""

    name: str
    title: str
    version: str
    access: Literal["generated", "open", "gated"]
    licence: str
    citation: str
    layout: str
    doi: str | None = None
    sources: list[Source] = []
    folders: dict[str, list[str]] = {}
    label_names: list[str] = list(LABEL_NAMES)
    counts: dict[str, GradeCounts] = {}
    patients: dict[str, int] = {}
    patient_pattern: str | None = None
    pixels: PixelContract | None = None
    default_splits: list[str] = []
    excluded: dict[str, str] = {}
    hashes: str | None = None
    fingerprint: str | None = None
    notes: str = ""

    @field_validator("patient_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Entry:
        if len(self.label_names) != 5:
            raise ValueError("label_names must be five")
        unknown = [split for split in (*self.default_splits, *self.patients) if split not in self.counts]
        if unknown:
            raise ValueError(f"counts lack the splits {unknown}")
        if bool(self.hashes) != bool(self.fingerprint):
            raise ValueError("hashes and fingerprint go together")
        return self

    @property
    def splits(self) -> list[str]:
        """Names of the published splits, in the manifest's order."""
        return list(self.counts)

    @property
    def n_images(self) -> int:
        """Number of published images; where two experts grade the same ones, they count once."""
        counted = list(self.folders)[:1] or self.splits
        return sum(sum(self.counts[part]) for part in counted)

    def file_hashes(self) -> dict[str, str]:
        """sha256 of each published file by its path inside the data set; empty where none are known.

        The list lies in ``koa_kit/data/hashes`` in the format of ``sha256sum``, gzipped: unpacked inside the data set's
        folder, ``sha256sum --check`` reads it. Raises `KoaError` if the list itself was changed.
        """
        return dict(_read_hashes(HASHES / self.hashes, self.fingerprint)) if self.hashes else {}


@lru_cache(maxsize=8)
def _read_hashes(path: Path, fingerprint: str) -> dict[str, str]:
    reinstall = "Install the kit again; the list is part of it."
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise KoaError(f"The list of file hashes cannot be read: {error}.", where=path, remedy=reinstall) from error
    if hashlib.sha256(text).hexdigest()[:16] != fingerprint:
        raise KoaError("The list of file hashes was changed.", where=path, remedy=reinstall)
    lines = (line.split("  ", 1) for line in text.decode("ascii").splitlines())
    return {file: digest for digest, file in lines}


class Manifest(Record):
    """All data sets the kit knows, by name; ``manifest["oai-kl224"]`` gives the entry."""

    manifest: Literal[1]
    datasets: dict[str, Entry]

    def __getitem__(self, name: str) -> Entry:
        """Entry of the data set `name`; `KoaError` naming the known ones if there is none."""
        if name not in self.datasets:
            raise KoaError(
                f"There is no data set {name!r} in the manifest.",
                where="data_manifest.yaml",
                remedy=f"Choose from {', '.join(self.datasets)}.",
            )
        return self.datasets[name]

    def __contains__(self, name: object) -> bool:
        return name in self.datasets

    @property
    def names(self) -> list[str]:
        """Names of the data sets, in the manifest's order."""
        return list(self.datasets)


def load_manifest(path: str | os.PathLike | None = None) -> Manifest:
    """Manifest read from `path`, or the kit's own ``data_manifest.yaml``.

    Raises `KoaError` naming every key that is unknown, missing or of the wrong type.
    """
    path = Path(path) if path else paths.resource("data_manifest.yaml")
    return _load(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=4)
def _load(path: Path, _changed: int) -> Manifest:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KoaError(f"The manifest cannot be read: {error}", where=path, remedy="Restore the file.") from error
    if isinstance(content, dict) and isinstance(content.get("datasets"), dict):
        named = {
            key: {"name": key, **fields} for key, fields in content["datasets"].items() if isinstance(fields, dict)
        }
        content = {**content, "datasets": {**content["datasets"], **named}}
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors())
        raise KoaError("The manifest is not valid.", where=f"{path}: {faults}", remedy="Correct these keys.") from error
