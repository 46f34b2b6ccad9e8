"""What is to be read: the knees of a folder and everything about it that is wrong, before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from koa_kit.data.files import HIDDEN, ODD, Found, printable
from koa_kit.data.polarity import Polarity
from koa_kit.data.radiograph import SUFFIXES
from koa_kit.errors import KoaError

LISTED_AT_MOST = 20
LARGEST_FILE = 512 << 20
"""Bytes; the largest radiograph that is read takes 384 MB, uncompressed with 16 bits in each of three channels."""

REFUSED = "refused: "
"""How the reason begins of an image that was left out because it is refused."""


@dataclass
class Plan:
    """Knees to read and how: ``read(bytes, file, shape, polarity)`` gives pixels and inversion, files lie in `root`.

    `hashes` are the published ones by file, empty where none are known; `excluded` are part, number of images and
    reason of what is left out. What is wrong stops the reading: `problems`, and `refused`, by file, unless those are to
    be left out. `remedy` says what to do about them.
    """

    name: str
    root: Path
    shape: tuple[int, int]
    read: Callable[[bytes, str, tuple[int, int], Polarity], tuple[np.ndarray, bool]]
    remedy: str
    hashes: dict[str, str] = field(default_factory=dict)
    knees: pd.DataFrame = field(default_factory=pd.DataFrame)
    excluded: list[tuple[str, int, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def images(self, found: Iterable[Found], grades: Sequence[str]) -> list[str]:
        """Files among those found that may be images of knees; `grades` are the folders that must be readable.

        The others are left out if they are none, such as a README or what a file browser keeps for itself, and refused
        if they look like one but cannot be read.
        """
        images = []
        for one in found:
            folder, suffix = one.path.endswith("/"), PurePosixPath(one.path).suffix.lower()
            fault = one.fault or ("it has over 512 MB" if one.size > LARGEST_FILE else "")
            if folder and any(f"{grade}/".startswith(one.path) for grade in grades):
                self.problems.append(f"{printable(one.path)}: {fault}")
            elif folder or one.fault == HIDDEN:
                self.excluded.append((printable(one.path), 0, fault))
            elif suffix in SUFFIXES and not fault and not ODD.search(one.path):
                images.append(one.path)
            elif suffix in SUFFIXES:
                self.refused[one.path] = fault or "its name holds a control character, or bytes that are no text"
            elif not fault and _is_picture(self.root / one.path):
                self.refused[one.path] = f"an image of a kind that is not read ({', '.join(SUFFIXES)} are)"
            else:
                self.excluded.append((printable(one.path), 0, fault or "no image"))
        return images

    def leave_out_refused(self) -> None:
        """Go on without the refused files: they are listed in `excluded` and are knees no more."""
        self.excluded += [(printable(file), 1, f"{REFUSED}{fault}") for file, fault in self.refused.items()]
        if not self.knees.empty:
            kept = [file not in self.refused for file in self.knees["file"]]
            self.knees = self.knees[kept].reset_index(drop=True)
        self.refused = {}

    def refuse(self) -> None:
        """Raise one `KoaError` that lists everything that is wrong (20 lines, then a count), if anything is."""
        problems = self.problems + [f"{printable(file)}: {fault}" for file, fault in self.refused.items()]
        if not problems:
            return
        shown = problems[:LISTED_AT_MOST]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        count = "One thing is" if len(problems) == 1 else f"{len(problems)} things are"
        go_on = " Or go on without these images: --skip-refused, in Python skip_refused=True."
        raise KoaError(
            f"{count} wrong with the files of {self.name}; nothing was written.",
            where=f"{self.root}" + "".join(f"\n    {line}" for line in shown),
            remedy=self.remedy + ("" if self.problems else go_on),
        )


def _is_picture(file: Path) -> bool:
    """True if a file holds a picture, whatever its name says: DICOM, or any kind that Pillow knows."""
    try:
        with file.open("rb") as content:
            if content.read(132)[128:] == b"DICM":
                return True
        with Image.open(file):
            return True
    except Exception:  # Pillow's readers fail in many ways on what is none of theirs.
        return False
