"""What is to be read: the knees of a folder and everything about it that is wrong, before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

LISTED_AT_MOST = 20
Reader = Callable[[bytes, str, tuple[int, int]], tuple[np.ndarray, bool]]


@dataclass
class Plan:
    """Knees to read and how.

    Attributes
    ----------
    name, root
        Data set and the folder its files are named from.
    shape
        Height and width of every image as it will be kept.
    read
        Function from a file's bytes, its name and `shape` to pixels and inversion.
    remedy
        What to do about the problems.
    hashes
        Published sha256 by file; a file that differs is refused. Empty: none are known.
    knees
        One row per knee, ``file`` relative to `root`; ``sha256`` and ``inverted`` are added on reading.
    excluded
        ``part``, ``images``, ``reason`` of what is left out.
    problems
        A line each; any of them stops the reading.
    """

    name: str
    root: Path
    shape: tuple[int, int]
    read: Reader
    remedy: str
    hashes: dict[str, str] = field(default_factory=dict)
    knees: pd.DataFrame = field(default_factory=pd.DataFrame)
    excluded: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

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
