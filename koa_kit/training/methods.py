"""The same cohort, model and budget under every way of treating left and right, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.error_analysis.predictions import flip_averaged
from koa_kit.training.config import METHODS, TrainConfig
from koa_kit.training.fitting import fit_or_load
from koa_kit.training.run import Run

FLIP_AVERAGING = "flip averaging"


def train_methods(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    methods: Sequence[str] = tuple(METHODS),
    device: str | None = None,
    on_run: Callable[[str, Run], None] | None = None,
) -> dict[str, Run]:
    """Run a method, each in its own subfolder of `folder`; only ``config.method`` differs between them.

    A run that is already there with the same choices and cohort is read instead of trained.
    """
    runs = {}
    for method in methods:
        choices = config.with_changes(method=method)
        runs[method] = fit_or_load(cohort, choices, Path(folder) / method, device=device)
        if on_run:
            on_run(method, runs[method])
    return runs


def method_predictions(runs: dict[str, Run], cohort: Cohort | None = None) -> dict[str, pd.DataFrame]:
    """Predictions of every run, with flip averaging of the plain one, which costs no training, beside them.

    Parameters
    ----------
    runs
        From `train_methods`.
    cohort
        Knees to grade; omitted, the val knees the runs kept their predictions for.
    """
    tables = {name: run.predictions if cohort is None else run.predict(cohort)[0] for name, run in runs.items()}
    named = {name.replace("_", " "): table for name, table in tables.items()}
    if "plain" in tables:
        position = list(named).index("plain") + 1
        items = list(named.items())
        items.insert(position, (FLIP_AVERAGING, flip_averaged(tables["plain"])))
        named = dict(items)
    return named


def cost_table(runs: dict[str, Run]) -> pd.DataFrame:
    """One row a method: epochs, seconds an epoch and images a second (medians), the epoch kept, what the method does.

    Images a second count both views; there are none for probes, whose images went through the tower beforehand.
    """
    rows = [
        {
            "method": name.replace("_", " "),
            "epochs": len(run.history),
            "seconds_an_epoch": round(run.history["seconds"].median(), 2),
            "images_a_second": run.history["images_per_second"].median(),
            "kept_epoch": int(run.history.loc[run.history["val_qwk"].idxmax(), "epoch"]),
            "what": METHODS[name],
        }
        for name, run in runs.items()
    ]
    table = pd.DataFrame(rows).set_index("method")
    table["images_a_second"] = table["images_a_second"].round().astype("Int64")
    return table.dropna(axis=1, how="all")
