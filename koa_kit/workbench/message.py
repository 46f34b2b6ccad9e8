"""A workbench, or in its place a message in the page that says why there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import pandas as pd

from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.errors import KoaError
from koa_kit.workbench.bench import Workbench
from koa_kit.workbench.page.figures import error_html
from koa_kit.workbench.page.html import STYLE


class Message:
    """What is shown in the place of a workbench that cannot be made: why, and what to do."""

    def __init__(self, error: KoaError):
        self.error = error

    def _repr_html_(self) -> str:
        return STYLE + error_html(self.error)

    def __repr__(self) -> str:
        return f"No workbench: {self.error}"


def or_message(make: Callable[..., Workbench | Message]) -> Callable[..., Workbench | Message]:
    """`make`, whose `KoaError` becomes a message in the page; under ``KOA_STRICT=1`` it is raised."""

    @wraps(make)
    def made(*values, **options) -> Workbench | Message:
        try:
            return make(*values, **options)
        except KoaError as error:
            if os.environ.get("KOA_STRICT") == "1":
                raise
            return Message(error)

    return made


@or_message
def workbench(predictions: pd.DataFrame | str | os.PathLike, images=None, **options) -> Workbench | Message:
    """A `Workbench` of a table or a ``predictions.parquet``; where that cannot be, a message in the page that says why.

    Under ``KOA_STRICT=1`` the error is raised instead. `images` and `options` are those of `Workbench`.
    """
    table = predictions if isinstance(predictions, pd.DataFrame) else read_predictions(Path(predictions))
    return Workbench(table, images, **options)
