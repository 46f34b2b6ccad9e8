"""The published predictions of a grid: one file for all cells, read back as one predictions table a row and seed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import IDENTITY, VIEWS, check_predictions, flip_averaged, predictions_table
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

PREDICTIONS = "predictions.parquet"
SIMILARITIES = tuple(f"s{grade}{view}" for view in VIEWS for grade in GRADES)
LABELS = ("cell", "row", "seed")
_TEXTS = ("cell", "row", "knee_id", "patient", "side", "split", "file")
FLIP_AVERAGED = " + flip averaging"


def compact(predictions: pd.DataFrame, *, cell: str, row: str, seed: int) -> pd.DataFrame:
    """What is kept of a predictions table: whose it is, its knees, and the similarities that all else follows from."""
    kept = predictions[[*IDENTITY, *SIMILARITIES]].astype(dict.fromkeys(SIMILARITIES, np.float32))
    return kept.assign(cell=cell, row=row, seed=seed)[[*LABELS, *IDENTITY, *SIMILARITIES]]


def cell_tables(predictions: pd.DataFrame) -> pd.DataFrame:
    """The same with repeated texts stored once, which makes the file ten times smaller."""
    return predictions.astype(dict.fromkeys(_TEXTS, str)).astype(dict.fromkeys(_TEXTS, "category"))


def whole(kept: pd.DataFrame) -> pd.DataFrame:
    """Predictions table from what `compact` kept."""
    texts = {name: str for name in _TEXTS if name in IDENTITY}
    logits = kept[list(SIMILARITIES)].to_numpy().reshape(-1, len(VIEWS), len(GRADES))
    return check_predictions(predictions_table(kept[list(IDENTITY)].astype(texts), logits))


def read_rows(
    folder: str | os.PathLike, split: str = "val", *, flip_averaging: tuple[str, ...] = ()
) -> dict[str, dict[int, pd.DataFrame]]:
    """Row of a published grid to seed to predictions table of one split.

    Parameters
    ----------
    folder
        With ``predictions.parquet``, as `koa ablate --publish` writes it.
    split
        "val" or "development".
    flip_averaging
        Rows after which the same models are shown once more with both views averaged, which costs no training.

    Raises
    ------
    KoaError
        If there is nothing published, or nothing of this split.
    """
    path = Path(folder) / PREDICTIONS
    if not path.is_file():
        raise KoaError(
            "No grid is published here.", where=path, remedy="Write one: koa ablate NAME --publish FOLDER, see --help."
        )
    table = pd.read_parquet(path)
    if split not in set(table["split"].astype(str)):
        known = ", ".join(sorted(set(table["split"].astype(str))))
        raise KoaError(f"Nothing is published of a split {split!r}.", where=path, remedy=f"Choose from {known}.")
    table = table[table["split"].astype(str) == split]
    rows: dict[str, dict[int, pd.DataFrame]] = {}
    for (row, seed), kept in table.groupby(["row", "seed"], sort=True, observed=True):
        rows.setdefault(str(row), {})[int(seed)] = whole(kept)
    if odd := set(flip_averaging) - set(rows):
        raise KoaError(
            f"There is no row {min(odd)!r} to average.", where=path, remedy=f"Choose from {', '.join(rows)}."
        )
    shown = {}
    for row, seeds in rows.items():
        shown[row] = seeds
        if row in flip_averaging:
            shown[row + FLIP_AVERAGED] = {seed: flip_averaged(table) for seed, table in seeds.items()}
    return shown
