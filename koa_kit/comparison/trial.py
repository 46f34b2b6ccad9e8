"""One training of a grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from koa_kit.errors import KoaError
from koa_kit.training.config import TrainConfig


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes
    ----------
    name
        Its folder below that of the grid, such as "symmetry/seed-1".
    config
        Its choices.
    variation
        Name of the set of changed choices it belongs to; empty where there is none.
    """

    name: str
    config: TrainConfig
    variation: str = ""

    @property
    def row(self) -> str:
        """What it is compared as: its name without the seed."""
        *row, last = PurePosixPath(self.name).parts
        return "/".join(row) or last

    def __post_init__(self):
        parts = PurePosixPath(self.name).parts
        if not parts or not all(re.fullmatch(r"[\w=+,-][\w.=+,-]*", part) for part in parts):
            raise KoaError(
                "A cell's name must be fit for a folder.",
                where=repr(self.name),
                remedy="Use letters, digits and . = + , - _ and no blank.",
            )
