"""What is to be read: the knees of a folder and everything about it that is wrong, before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

LISTED_AT_MOST = 20


@dataclass
class Plan:
    """Knees to read and how: ``read(bytes, file, shape)`` gives pixels and inversion, files are named from `root`.

    `hashes` are the published ones by file, empty where none are known; `excluded` are part, number of images and
    reason of what is left out; any line in `problems` stops the reading, and `remedy` says what to do about them.
    """

    name: str
    root: Path
    shape: tuple[int, int]
    read: Callable[[bytes, str, tuple[int, int]], tuple[np.ndarray, bool]]
    remedy: str
    hashes: dict[str, str] = field(default_factory=dict)
    knees: pd.DataFrame = field(default_factory=pd.DataFrame)
    excluded: list[tuple[str, int, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def refuse(self, further: Sequence[str] = ()) -> None:
        """Raise one `KoaError` that lists every problem, `further` ones included (20 lines, then a count), if any."""
        if not (problems := [*self.problems, *further]):
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
