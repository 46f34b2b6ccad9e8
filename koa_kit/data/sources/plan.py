"""What is to be read: the knees of a folder and everything about it that is wrong, before any image is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

LISTED_AT_MOST = 20
Reader = Callable[[bytes, str], tuple[np.ndarray, bool]]


@dataclass
class Plan:
    """Knees to read and how.

    Attributes
    ----------
    name, root
        Data set and the folder its files are named from.
    knees
        One row a knee, ``file`` relative to `root`; ``sha256`` and ``inverted`` are added on reading.
    shape
        Height and width of every image as it will be kept.
    read
        Gives pixels and inversion from a file's bytes and its name.
    hashes
        Published sha256 by file; a file that differs is refused. Empty: none are known.
    excluded
        ``part``, ``images``, ``reason`` of what is left out.
    problems
        A line each; any of them stops the ingest.
    remedy
        What to do about the problems.
    """

    name: str
    root: Path
    knees: pd.DataFrame
    shape: tuple[int, int]
    read: Reader
    hashes: dict[str, str] = field(default_factory=dict)
    excluded: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remedy: str = "Put these files right, or move them out of the folder."

    def leave_out(self, part: str, images: int, reason: str) -> None:
        """Note a part that is left out."""
        self.excluded.append({"part": part, "images": images, "reason": reason})

    def refuse(self, further: Sequence[str] = ()) -> None:
        """Raise one `KoaError` that lists every problem, `further` ones included (20 lines, then a count), if any."""
        problems = [*self.problems, *further]
        if not problems:
            return
        shown = problems[:LISTED_AT_MOST]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        count = "One thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise KoaError(
            f"{count} wrong with the files of {self.name}; nothing was written.",
            where=f"{self.root}" + "".join(f"\n    {line}" for line in shown),
            remedy=self.remedy,
        )


def survey(root: Path, parts: Sequence[str]) -> list[tuple[str, int, int]]:
    """Path below `root`, size in bytes and time of last change (ns) of every file in these folders, sorted.

    Hidden files are left out. A changed, added or removed file changes the survey, and no file is opened for it.
    """
    found: list[tuple[str, int, int]] = []
    waiting = [part for part in parts if (root / part).is_dir()]
    while waiting:
        part = waiting.pop()
        with os.scandir(root / part) as items:
            for item in items:
                if item.name.startswith("."):
                    continue
                if item.is_dir():
                    waiting.append(f"{part}/{item.name}")
                else:
                    facts = item.stat()
                    found.append((f"{part}/{item.name}", facts.st_size, facts.st_mtime_ns))
    return sorted(found)
