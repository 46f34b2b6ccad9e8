"""The table of a grid: one row a cell, with its choices, its knees and its scores, and what it comes to over seeds."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.training.config import TrainConfig

if TYPE_CHECKING:
    from koa_kit.comparison.trial import Cell

TABLE = "cells.csv"
MAIN_METRICS = ("accuracy", "balanced_accuracy", "qwk", "mae", "kl1_recall", "flip_disagreement")
COLUMNS = (
    *("cell", "variation", "method", "seed", "status", "seconds", "epochs_run", "best_epoch"),
    *("cohort", "cohort_fingerprint", "knees_train", "knees_val"),
    *METRICS,
    "message",
    *(entry.name for entry in fields(TrainConfig) if entry.name not in ("method", "seed")),
    *("koa_kit", "torch"),
)
"""Columns of the table of a grid: what a cell is, how it ended, on which knees, its scores, all its choices."""
_NUMBERS = {"seed", "seconds", "epochs_run", "best_epoch", "knees_train", "knees_val", *METRICS} | {
    entry.name for entry in fields(TrainConfig) if entry.type in ("int", "float")
}


def grid_table(folder: str | Path) -> pd.DataFrame:
    """Table that `run_grid` keeps in the folder of a grid: the cells of its latest call that have ended."""
    path = Path(folder) / TABLE
    if not path.is_file():
        raise KoaError("There is no grid here.", where=folder, remedy="Run it first: koa ablate --help.")
    empty_numbers = {name: [""] for name in _NUMBERS}
    return as_table(with_later_choices(pd.read_csv(path, keep_default_na=False, na_values=empty_numbers)))


def with_later_choices(table: pd.DataFrame) -> pd.DataFrame:
    """A table that an earlier version wrote: choices it did not know yet are at their defaults, as they were then."""
    later = {entry.name: entry.default for entry in fields(TrainConfig) if entry.name not in table}
    return table.assign(**{name: "" if value is None else value for name, value in later.items()})


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds (``<metric>_sd``, n - 1) of `MAIN_METRICS`, one row a variation x method.

    ``seeds`` counts the cells that have scores, ``failed`` the others; one seed has no standard deviation (nan).
    """
    groups = table.groupby(["variation", "method"], sort=False)
    parts = {
        "seeds": groups["status"].agg(lambda status: int((status != "failed").sum())),
        "failed": groups["status"].agg(lambda status: int((status == "failed").sum())),
    }
    for metric in MAIN_METRICS:
        parts[metric], parts[f"{metric}_sd"] = groups[metric].mean(), groups[metric].std(ddof=1)
    return pd.DataFrame(parts).reset_index()


def cell_row(cell: Cell, facts: dict) -> dict:
    """Row of one cell: its name and choices, and the `facts` that training it brought."""
    told = {"cell": cell.name, "variation": cell.variation, "message": ""}
    for entry in fields(TrainConfig):
        value = getattr(cell.config, entry.name)
        # prompts of one's own and weights of grades are several values: written as JSON
        told[entry.name] = "" if value is None else json.dumps(value) if isinstance(value, tuple) else value
    return told | facts


def as_table(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    """Rows with exactly `COLUMNS`, numbers as numbers and texts as texts, empty where there is none."""
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    for name in COLUMNS:
        if name in _NUMBERS:
            table[name] = pd.to_numeric(table[name])
        else:
            table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table
