"""A grid of runs, methods by seeds: finished trials are not repeated, a failed one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from koa_kit.comparison.backends import require_usable, trial_outcomes
from koa_kit.comparison.tables import TABLE, as_table, trial_row
from koa_kit.comparison.trial import Trial, failure_facts, run_trial
from koa_kit.data import load_cohort, load_manifest
from koa_kit.errors import KoaError
from koa_kit.paths import data_dir as data_home
from koa_kit.paths import replacing
from koa_kit.training.config import METHODS, TrainConfig


def method_grid(
    config: TrainConfig,
    methods: Sequence[str] = tuple(METHODS),
    seeds: Iterable[int] = range(3),
) -> list[Trial]:
    """Trials of all methods x seeds, in this order, which share the other choices of `config`.

    Raises `KoaError` if there is none, two are the same, or a method is unknown.
    """
    trials = [
        Trial(f"{method}/seed-{seed}", config.with_changes(method=method, seed=seed))
        for method, seed in product(methods, seeds)
    ]
    _require_distinct(trials)
    return trials


def run_grid(
    trials: Iterable[Trial],
    folder: str | Path,
    *,
    dataset: str | Path,
    data_dir: str | Path | None = None,
    backend: str = "loky",
    jobs: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    device: str | None = None,
    on_trial: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Table of a grid, one row per trial with columns `COLUMNS`, after every trial has been trained or found.

    Each trial is ``fit_or_load`` on ``folder/<trial>``, so calling again goes on where an earlier call was stopped. The
    table of the trials that have ended so far lies in ``folder/cells.csv``. A trial that raises has status "failed",
    its message in the table, its traceback in ``folder/<trial>/failure.txt``, and is tried again by the next call.

    Parameters
    ----------
    trials, folder
        From `method_grid` or `Preset.trials`, or one's own; and where to train them. Workers on other machines must see
        the folder, and the data, under the same path.
    dataset, data_dir, device
        As in `load_cohort` and `fit`. Every worker opens the knees itself, memory-mapped.
    backend
        One of `BACKENDS`: "loky", processes of this machine, or "dask".
    jobs
        Trials at the same time; omitted, 1. A Dask cluster named by `scheduler` always takes one per worker.
    threads
        Threads of torch per trial. Omitted: ``OMP_NUM_THREADS``, else the cores divided by `jobs`; as many as a named
        Dask cluster's workers have. Results depend on it in the last digits.
    scheduler
        Address of a Dask scheduler; omitted, a cluster is started on this machine and closed at the end.
    on_trial
        Called with the row of each trial as it ends.

    Raises
    ------
    KoaError
        If the knees cannot be loaded, the backend is unknown, not installed or not reached, or trials are not distinct.
        If a finished trial in `folder` has other choices than the one of its name: nothing is trained over it.
    """
    trials, folder, data = list(trials), Path(folder).absolute(), data_home(data_dir).absolute()
    _require_nothing_lost(trials, folder)
    _require_distinct(trials)
    require_usable(backend, jobs, threads, scheduler)
    cohort = load_cohort(dataset, data_dir=data_dir)  # now, so that not every trial finds out that there are no knees
    if str(dataset) not in load_manifest():
        dataset = Path(dataset).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint}
    facts |= {f"knees_{split}": cohort.splits.get(split, 0) for split in ("train", "val")}
    knees = {"dataset": str(dataset), "data_dir": data, "cohort": cohort.fingerprint}
    task = partial(run_trial, folder=folder, device=device, **knees)
    where: dict = {"backend": backend, "jobs": jobs, "threads": threads, "scheduler": scheduler}
    ended: dict[str, dict] = {}
    with closing(trial_outcomes(task, trials, folder, **where)) as outcomes:
        for name, outcome in outcomes:
            came = failure_facts(outcome, folder / name) if isinstance(outcome, Exception) else outcome
            ended[name] = facts | came
            table = as_table([trial_row(trial, ended[trial.name]) for trial in trials if trial.name in ended])
            with replacing(folder / TABLE) as path:
                table.to_csv(path, index=False)
            if on_trial:
                on_trial(table[table["cell"] == name].iloc[0].to_dict())
    return table


def _require_nothing_lost(trials: Sequence[Trial], folder: Path) -> None:
    for trial in trials:
        there = folder / trial.name
        if not (there / "metrics.json").is_file():
            continue
        found, asked = asdict(TrainConfig.read(there / "config.yaml")), asdict(trial.config)
        differing = [name for name in asked if asked[name] != found[name]]
        if differing:
            said = "; ".join(f"{name}: {found[name]!r} there, {asked[name]!r} asked" for name in differing)
            raise KoaError(
                f"A finished trial of this name has other choices ({said}).",
                where=there,
                remedy="Give the grid another name, or remove that folder.",
            )


def _require_distinct(trials: Sequence[Trial]) -> None:
    if not trials:
        raise KoaError("The grid has no trial.", remedy="Give at least one method and one seed.")
    names: dict[TrainConfig, str] = {}
    for trial in trials:
        if trial.name in names.values():
            raise KoaError("Two trials have the same name.", where=trial.name, remedy="Name each method and seed once.")
        if other := names.get(trial.config):
            raise KoaError("Two trials have the same choices.", where=f"{other}, {trial.name}")
        names[trial.config] = trial.name
