"""Where a workbench finds what it shows and keeps what is said of it, and whether it can; asked without a model."""

from __future__ import annotations

import os
from pathlib import Path

from koa_kit import paths
from koa_kit.configuration import read_yaml
from koa_kit.data.splits import split_stem
from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.error_analysis.statistics.comparison import align_predictions
from koa_kit.errors import KoaError
from koa_kit.pretrained.names import pretrained_names
from koa_kit.workbench.reviews.log import ReviewLog

LOG = "verdicts.jsonl"
"""File of readers' reviews where none is named; the name is older than the word."""


def predictions_of(source: str | os.PathLike, split: str) -> Path:
    """The predictions file a run folder, a model of the kit or the path itself stands for."""
    path = paths.PACKAGE / "pretrained" / str(source) if str(source) in pretrained_names() else Path(source)
    lone = path.is_file() or path.suffix == ".parquet"
    return path if lone else path / f"{split_stem(path, split)}predictions.parquet"


def log_of(source: str | os.PathLike, log: str | os.PathLike | None = None) -> Path:
    """File of readers' reviews: `log`, else beside the run, or in the present folder for a model of the kit."""
    if log is not None:
        return Path(log)
    if str(source) in pretrained_names():
        return Path(LOG)
    return Path(source).with_name(LOG) if Path(source).is_file() else Path(source) / LOG


def check_places(
    source: str | os.PathLike,
    split: str = "val",
    *,
    log: str | os.PathLike | None = None,
    beside: str | os.PathLike | None = None,
) -> None:
    """Raise `KoaError` if there is no run or table of predictions, it is damaged, or a file beside it is of other kind.

    That is a `log` which holds no reviews, or a run `beside` it of other knees; both as in `open_run`.
    """
    if not str(source).strip():
        raise KoaError(
            "The name of the run is empty.", remedy="Name a run folder, or leave it out for the kit's model."
        )
    if str(source) not in pretrained_names() and not Path(source).is_file():
        read_yaml(Path(source) / "config.yaml")
    predictions = read_predictions(predictions_of(source, split))
    if beside is not None:
        align_predictions(predictions, read_predictions(predictions_of(beside, split)), names=("run", "beside"))
    ReviewLog(log_of(source, log)).check()
