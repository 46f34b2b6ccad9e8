"""A grid of runs, methods by seeds: finished cells are not repeated, a failed one does not stop the rest."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd

from koa_kit.comparison.backends import BACKENDS, require_usable
from koa_kit.comparison.tables import TABLE, as_table, cell_row
from koa_kit.comparison.trial import Cell
from koa_kit.data import load_cohort, load_manifest
from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.paths import data_dir as data_home
from koa_kit.paths import replacing
from koa_kit.training.config import METHODS, TrainConfig

FAILURE = "failure.txt"
# torch seeds and thread counts belong to a process: a Dask worker with several threads runs one cell after the other
_ONE_CELL_A_PROCESS = Lock()


def grid(
    config: TrainConfig,
    methods: Sequence[str] = tuple(METHODS),
    seeds: Iterable[int] = range(3),
    variations: dict[str, dict] | None = None,
) -> list[Cell]:
    """Cells of all variations x methods x seeds, in this order.

    Parameters
    ----------
    config
        Choices that all cells share.
    methods
        Of `METHODS`.
    seeds
        Each makes another run of the same choices.
    variations
        Named sets of changed choices, such as ``{"w=0.1": {"consistency": 0.1}}``; omitted, `config` as it is.

    Raises
    ------
    KoaError
        If two cells have the same name or the same choices, a variation changes method or seed, or a choice is unknown.
    """
    cells, seeds = [], list(seeds)
    for variation, changes in (variations or {"": {}}).items():
        if axes := {"method", "seed"} & set(changes):
            raise KoaError(f"A variation must not change the {min(axes)}: it is an axis of the grid.", where=variation)
        varied = config.with_changes(**changes)
        for method in methods:
            for seed in seeds:
                name = "/".join(filter(None, (variation, method, f"seed-{seed}")))
                cells.append(Cell(name, varied.with_changes(method=method, seed=seed), variation))
    _require_distinct(cells)
    return cells


def run_grid(
    cells: Sequence[Cell],
    folder: str | Path,
    *,
    dataset: str | Path,
    data_dir: str | Path | None = None,
    backend: str = "loky",
    jobs: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    device: str | None = None,
    on_cell: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Table of a grid, one row a cell with columns `COLUMNS`, after every cell has been trained or found.

    Each cell is ``fit_or_load`` on ``folder/<cell>``, so calling again goes on where an earlier call was stopped. The
    table of the cells that have ended so far lies in ``folder/cells.csv``. A cell that raises has status "failed", its
    message in the table, its traceback in ``folder/<cell>/failure.txt``, and is tried again by the next call.

    Parameters
    ----------
    cells
        From `grid`, or one's own.
    folder
        Of the grid. Workers on other machines must see it, and the data, under the same path.
    dataset, data_dir
        As in `load_cohort`. Every worker opens the knees itself, memory-mapped.
    backend
        One of `BACKENDS`.
    jobs
        Cells at the same time: omitted, 1, or as many as a Ray cluster has room for. A Dask cluster named by
        `scheduler` always takes one a worker.
    threads
        Threads of torch a cell. Omitted: ``OMP_NUM_THREADS``, else the cores divided by `jobs`; as many as a named Dask
        cluster's workers have; 1 with Ray. Results depend on it in the last digits.
    scheduler
        Address of a Dask scheduler or a Ray cluster; omitted, one is started on this machine and closed at the end.
    device
        As in `fit`. All cells of one machine share the device they are given.
    on_cell
        Called with the row of each cell as it ends.

    Raises
    ------
    KoaError
        If the knees cannot be loaded, the backend is unknown, not installed or not reached, or cells are not distinct.
        If a finished cell in `folder` has other choices than the one of its name: nothing is trained over it.
    """
    cells = list(cells)
    _require_nothing_lost(cells, Path(folder))
    _require_distinct(cells)
    require_usable(backend, jobs, threads, scheduler)
    cohort = load_cohort(dataset, data_dir=data_dir)  # now, so that not every cell finds out that there are no knees
    if str(dataset) not in load_manifest().names:
        dataset = Path(dataset).expanduser().absolute()
    folder, data = Path(folder).absolute(), data_home(data_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint}
    shared |= {f"knees_{split}": cohort.splits.get(split, 0) for split in ("train", "val")}
    task = partial(
        _run_cell, folder=folder, dataset=str(dataset), data_dir=data, cohort=cohort.fingerprint, device=device
    )
    outcomes = BACKENDS[backend](
        task, cells, folder=folder, jobs=jobs, threads=threads, scheduler=scheduler, device=device
    )
    rows: dict[str, dict] = {}
    with closing(outcomes):
        for name, outcome in outcomes:
            if isinstance(outcome, Exception):
                outcome = _failure(outcome, folder / name)
            rows[name] = shared | outcome
            ended = [cell for cell in cells if cell.name in rows]
            table = as_table([cell_row(cell, rows[cell.name]) for cell in ended])
            with replacing(folder / TABLE) as path:
                table.to_csv(path, index=False)
            if on_cell:
                on_cell(table[table["cell"] == name].iloc[0].to_dict())
    return table


def _run_cell(
    cell: Cell, *, folder: Path, dataset: str, data_dir: Path, cohort: str, device: str | None, threads: int
) -> tuple[str, dict]:
    """Name of a cell and what became of it; nothing is raised. Called in a worker."""
    from koa_kit.training.loop import fit_or_load

    target = folder / cell.name
    with _ONE_CELL_A_PROCESS, _torch_threads(threads):
        try:
            knees = load_cohort(dataset, data_dir=data_dir)
            if knees.fingerprint != cohort:
                raise KoaError(
                    "This worker sees other knees than the process that started the grid.",
                    where=f"{dataset}: {knees.fingerprint}, not {cohort}",
                    remedy="Give all machines the same data folder with --data-dir.",
                )
            before = _stamp(target)
            fit_or_load(knees, cell.config, target, device=device)
            (target / FAILURE).unlink(missing_ok=True)
            return cell.name, {"status": "found" if before == _stamp(target) else "finished", **_results(target)}
        except Exception as error:
            return cell.name, _failure(error, target)


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stamp(target: Path) -> tuple[int, int] | None:
    """When and as which file the run was finished: both change when it is trained anew."""
    with suppress(FileNotFoundError):
        found = (target / "metrics.json").stat()
        return found.st_mtime_ns, found.st_ino
    return None


def _results(target: Path) -> dict:
    from koa_kit.model import read_record

    record, history = read_record(target), pd.read_csv(target / "history.csv")
    scores = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
    return {
        "seconds": round(float(history["seconds"].sum()), 3),
        "epochs_run": len(history),
        "best_epoch": record["epoch"],
        **{name: np.nan if scores[name] is None else scores[name] for name in METRICS},
        **{name: record["versions"][name] for name in ("koa_kit", "torch")},
    }


def _failure(error: Exception, target: Path) -> dict:
    said = str(error) if isinstance(error, KoaError) else f"{type(error).__name__}: {error}"
    # a full disk may be why the cell failed; the table then still tells it
    with suppress(OSError, KoaError), replacing(target / FAILURE) as path:
        path.write_text(f"{said}\n\n{''.join(traceback.format_exception(error))}", encoding="utf-8")
    return {"status": "failed", "message": " ".join(said.split())}


def _require_nothing_lost(cells: Sequence[Cell], folder: Path) -> None:
    for cell in cells:
        there = folder / cell.name
        if not (there / "metrics.json").is_file():
            continue
        found, asked = asdict(TrainConfig.read(there / "config.yaml")), asdict(cell.config)
        if differing := [
            f"{name}: {found[name]!r} there, {asked[name]!r} asked" for name in asked if asked[name] != found[name]
        ]:
            raise KoaError(
                f"A finished cell of this name has other choices ({'; '.join(differing)}).",
                where=there,
                remedy="Give the grid another name, or remove that folder.",
            )


def _require_distinct(cells: Sequence[Cell]) -> None:
    names: set[str] = set()
    configs: dict[TrainConfig, str] = {}
    if not cells:
        raise KoaError("The grid has no cell.", remedy="Give at least one method and one seed.")
    for cell in cells:
        if cell.name in names:
            raise KoaError("Two cells have the same name.", where=cell.name, remedy="Name each method and seed once.")
        if cell.config in configs:
            raise KoaError("Two cells have the same choices.", where=f"{configs[cell.config]}, {cell.name}")
        names.add(cell.name)
        configs[cell.config] = cell.name
