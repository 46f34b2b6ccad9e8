"""The table of a grid, ``cells.csv``: one row per trial, with its choices, its knees and its scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from koa_kit.comparison.trial import Trial
from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.training.config import RENAMED, RENAMED_OPTIONS, TrainConfig

TABLE = "cells.csv"
MAIN_METRICS = ("accuracy", "balanced_accuracy", "qwk", "mae", "kl1_recall", "flip_disagreement")
CHOICES = asdict(TrainConfig())
"""Name of each choice to its default, which is what a run of a version before that choice existed did."""

COLUMNS = (
    *("cell", "variation", "method", "seed", "status", "seconds", "epochs_run", "best_epoch"),
    *("cohort", "cohort_fingerprint", "knees_train", "knees_val"),
    *METRICS,
    "message",
    *(name for name in CHOICES if name not in ("method", "seed")),
    *("koa_kit", "torch"),
)
"""Columns of the table of a grid: which trial, how it ended, on which knees, its scores, all its choices."""

_NEEDED = ("cell", "method", "seed", "status", "cohort_fingerprint")

STABILITY = ("augmentation_variance", "augmentation_disagreement")
"""Further columns of a published table."""

_NUMBERS = {"seconds", "epochs_run", "best_epoch", "knees_train", "knees_val", *METRICS, *STABILITY} | {
    name for name, default in CHOICES.items() if type(default) in (int, float)
}


def trial_row(trial: Trial, facts: dict) -> dict:
    """Row of one trial: its name and choices, and the `facts` that training it brought."""
    choices = {name: _text(value) for name, value in asdict(trial.config).items()}
    return {"cell": trial.name, "variation": trial.variation} | choices | facts


def _text(value: object) -> object:
    # prompts of one's own and weights of grades are several values: written as JSON
    return "" if value is None else json.dumps(value) if isinstance(value, tuple) else value


def as_table(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    """Rows with exactly `COLUMNS`, and those of `STABILITY` they have: numbers, and texts that are empty for none."""
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*COLUMNS, *(name for name in STABILITY if name in table)])
    for name in table:
        if name in _NUMBERS:
            table[name] = pd.to_numeric(table[name])
        else:
            table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table


def read_table(folder: str | Path) -> pd.DataFrame:
    """Table in the folder of a grid, or of a published one, with the columns that `as_table` gives.

    Choices that the version which wrote it did not know are at their defaults; those it named otherwise are renamed.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        raise KoaError("There is no grid here.", where=folder, remedy="Run it first: koa ablate --help.")
    empty = {name: [""] for name in _NUMBERS}
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=empty).rename(columns=RENAMED)
        if "normalize" in table:
            table["normalize"] = table["normalize"].replace(RENAMED_OPTIONS)
        if absent := [name for name in _NEEDED if name not in table]:
            raise ValueError(f"it lacks {', '.join(absent)}")
        table = as_table(table.assign(**{name: _text(value) for name, value in CHOICES.items() if name not in table}))
        if table.empty or not table["cell"].all() or table["cell"].duplicated().any() or table["seed"].isna().any():
            raise ValueError("a trial is there twice, or has no name or seed")
    except (OSError, ValueError, TypeError) as error:  # pandas' own errors are of these kinds
        remedy = "Restore it, or run the grid again."
        raise KoaError(f"The table of the grid cannot be read: {error}.", where=path, remedy=remedy) from error
    return table


def arms_of(table: pd.DataFrame) -> pd.Series:
    """What each trial of a table is compared as: its name without the seed."""
    return table["cell"].str.rsplit("/", n=1).str[0]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds (``<metric>_sd``, n - 1) of `MAIN_METRICS`, per variation x method."""
    groups = table.assign(failed=table["status"] == "failed").groupby(["variation", "method"], sort=False)
    parts = {"seeds": groups.size() - groups["failed"].sum(), "failed": groups["failed"].sum()}
    for metric in MAIN_METRICS:
        parts[metric], parts[f"{metric}_sd"] = groups[metric].mean(), groups[metric].std(ddof=1)
    return pd.DataFrame(parts).reset_index()


def summary_texts(means: pd.DataFrame) -> pd.DataFrame:
    """A `summary` to read, with one text column per metric, such as "0.712 ± 0.013"."""
    texts = means[["method", "seeds", "failed"]].copy()
    for metric in MAIN_METRICS:
        value, spread = means[metric], means[f"{metric}_sd"]
        spread = spread.map(" ± {:.3f}".format).where(spread.notna(), "")
        texts[metric.replace("_", " ")] = (value.map("{:.3f}".format) + spread).where(value.notna(), "-")
    return texts


def interval_text(row: Mapping, form: str = ".3f") -> str:
    """``value``, ``low`` and ``high`` of a row as a text such as "0.684 (0.657 to 0.714)"."""
    value, low, high = (format(row[name], form) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
