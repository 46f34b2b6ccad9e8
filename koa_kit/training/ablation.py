"""A grid of runs, methods by seeds: finished cells are not repeated, a failed one does not stop the rest."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from threading import Lock
from uuid import uuid4

import numpy as np
import pandas as pd

from koa_kit.data import load_cohort, load_manifest
from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.paths import data_dir as data_home
from koa_kit.paths import replacing
from koa_kit.training.config import METHODS, TrainConfig

TABLE, FAILURE = "cells.csv", "failure.txt"
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
# torch seeds and thread counts belong to a process: a Dask worker with several threads runs one cell after the other
_ONE_CELL_A_PROCESS = Lock()
_NUMBERS = {"seed", "seconds", "epochs_run", "best_epoch", "knees_train", "knees_val", *METRICS} | {
    entry.name for entry in fields(TrainConfig) if entry.type in ("int", "float")
}


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

    def __post_init__(self):
        parts = PurePosixPath(self.name).parts
        if not parts or not all(re.fullmatch(r"[\w=+,-][\w.=+,-]*", part) for part in parts):
            raise KoaError(
                "A cell's name must be fit for a folder.",
                where=repr(self.name),
                remedy="Use letters, digits and . = + , - _ and no blank.",
            )


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
    """
    cells = list(cells)
    _require_distinct(cells)
    _require_usable(backend, jobs, threads, scheduler)
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
            table = _table([_row(cell, rows[cell.name]) for cell in ended])
            with replacing(folder / TABLE) as path:
                table.to_csv(path, index=False)
            if on_cell:
                on_cell(table[table["cell"] == name].iloc[0].to_dict())
    return table


def grid_table(folder: str | Path) -> pd.DataFrame:
    """Table that `run_grid` keeps in the folder of a grid: the cells of its latest call that have ended."""
    path = Path(folder) / TABLE
    if not path.is_file():
        raise KoaError("There is no grid here.", where=folder, remedy="Run it first: koa ablate --help.")
    empty_numbers = {name: [""] for name in _NUMBERS}
    return _table(pd.read_csv(path, keep_default_na=False, na_values=empty_numbers))


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


def _run_cell(
    cell: Cell, *, folder: Path, dataset: str, data_dir: Path, cohort: str, device: str | None, threads: int
) -> tuple[str, dict]:
    """Name of a cell and what became of it; nothing is raised. Called in a worker."""
    from koa_kit.training import fit_or_load

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


def _row(cell: Cell, facts: dict) -> dict:
    told = {"cell": cell.name, "variation": cell.variation, "message": ""}
    for entry in fields(TrainConfig):
        value = getattr(cell.config, entry.name)
        # prompts of one's own and weights of grades are several values: written as JSON
        told[entry.name] = "" if value is None else json.dumps(value) if isinstance(value, tuple) else value
    return told | facts


def _table(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    for name in COLUMNS:
        if name in _NUMBERS:
            table[name] = pd.to_numeric(table[name])
        else:
            table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table


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


def _on_this_machine(
    task: Callable, cells: list[Cell], *, jobs: int | None, threads: int | None, **_
) -> Iterator[tuple[str, dict | Exception]]:
    """Names of cells and what became of them, as they end, from processes of joblib; one job is this process.

    A killed process takes the others along. Cells begin in order, so those that ran are the first ones left: each of
    them is repeated in a process of its own, which tells who did it.
    """
    import joblib

    jobs = jobs or 1
    threads = threads or _share_of_cores(jobs)
    left = {cell.name: cell for cell in cells}

    def run(chosen: list[Cell]) -> Iterator[tuple[str, dict]]:
        pool = joblib.Parallel(jobs, backend="loky", batch_size=1, pre_dispatch="all", return_as="generator_unordered")
        return pool(joblib.delayed(task)(cell, threads=threads) for cell in chosen)

    while left:
        try:
            for name, outcome in run(list(left.values())):
                del left[name]
                yield name, outcome
        except BrokenProcessPool:
            for name, cell in list(left.items())[:jobs]:
                del left[name]
                try:
                    yield from run([cell])
                except BrokenProcessPool:
                    yield name, _killed()


def _on_dask(
    task: Callable,
    cells: list[Cell],
    *,
    folder: Path,
    jobs: int | None,
    threads: int | None,
    scheduler: str | None,
    **_,
) -> Iterator[tuple[str, dict | Exception]]:
    """The same from a Dask cluster, by its own client: joblib's backend waits for ever when a worker is killed."""
    import distributed

    with _dask_client(scheduler, jobs or 1, folder) as client:
        if threads is None:
            threads = min(client.nthreads().values()) if scheduler else _share_of_cores(jobs or 1)

        def submit(cell: Cell) -> distributed.Future:
            return client.submit(task, cell, threads=threads, key=f"{cell.name}-{uuid4()}")

        running, killed = {submit(cell): cell for cell in cells}, []
        for future in distributed.as_completed(running, loop=client.loop):
            cell = running.pop(future)
            if future.status == "finished":
                yield future.result()
            elif isinstance(error := future.exception(), distributed.KilledWorker):
                killed.append(cell)
            else:
                yield cell.name, error
        # a cell that only waited on the same worker counts as killed too, so each now has the cluster to itself
        for cell in killed:
            error = (future := submit(cell)).exception()
            yield (cell.name, _killed()) if error else future.result()


@contextmanager
def _dask_client(scheduler: str | None, jobs: int, folder: Path) -> Iterator:
    """Client of a Dask cluster whose workers see `folder`: the one named, or one of `jobs` processes here."""
    import dask
    import distributed

    with ExitStack() as stack:
        # dask logs every connection; what concerns the user comes as an error
        logger = logging.getLogger("distributed")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        # no limit of memory: dask would pause and restart a worker where loky lets it train
        cluster = {
            "threads_per_worker": 1,
            "memory_limit": 0,
            "dashboard_address": ":0",
            "silence_logs": logging.CRITICAL,
        }
        address = scheduler or stack.enter_context(distributed.LocalCluster(n_workers=jobs, **cluster))
        try:
            client = stack.enter_context(distributed.Client(address, timeout=10, set_as_default=False))
            client.wait_for_workers(1, timeout=30)
        except (OSError, ValueError, TimeoutError) as error:
            raise KoaError(
                f"The Dask cluster cannot be used: {error}",
                where=scheduler,
                remedy="Start it by `dask scheduler`, and on each machine `dask worker ADDRESS --nthreads 1`.",
            ) from error
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-all-workers-") as mark:
            blind = [worker for worker, sees in client.run(os.path.exists, mark.name).items() if not sees]
        if blind:
            raise KoaError(
                "A worker does not see the folder of the grid.",
                where=f"{blind[0]}: {folder}",
                remedy="Put it on a disk that all machines share under one path.",
            )
        yield client


def _on_ray(
    task: Callable,
    cells: list[Cell],
    *,
    jobs: int | None,
    threads: int | None,
    scheduler: str | None,
    device: str | None,
    **_,
) -> Iterator[tuple[str, dict | Exception]]:
    """The same from a Ray cluster, which is joined, or started on this machine; one GPU a cell for device "cuda"."""
    import ray

    with ExitStack() as stack:
        if not ray.is_initialized():
            try:
                ray.init(address=scheduler)
            except (ConnectionError, ValueError) as error:
                raise KoaError(f"The Ray cluster cannot be reached: {error}", where=scheduler) from error
            stack.callback(ray.shutdown)
        gpus = 1 if (device or "").startswith("cuda") else 0
        remote = ray.remote(num_cpus=threads or 1, num_gpus=gpus, max_retries=0)(_call).remote
        waiting, running = list(cells), {}
        while waiting or running:
            while waiting and len(running) < (jobs or len(cells)):
                cell = waiting.pop(0)
                running[remote(task, cell, threads or 1)] = cell
            (ended,), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(ended)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayError as error:
                yield cell.name, error


def _call(task: Callable, cell: Cell, threads: int) -> tuple[str, dict]:
    return task(cell, threads=threads)


BACKENDS = {"loky": _on_this_machine, "dask": _on_dask, "ray": _on_ray}
"""Where cells are trained: in processes of this machine, on a Dask cluster, on a Ray cluster."""
_PACKAGES = {"dask": "distributed", "ray": "ray"}


def _require_usable(backend: str, jobs: int | None, threads: int | None, scheduler: str | None) -> None:
    if backend not in BACKENDS:
        raise KoaError(f"There is no backend {backend!r}.", remedy=f"Choose from {', '.join(BACKENDS)}.")
    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise KoaError(f"{name} must be 1 or more.", where=f"{name}={value}")
    if scheduler and backend == "loky":
        raise KoaError("A scheduler goes with a cluster.", where=scheduler, remedy="Add --backend dask or ray.")
    package = _PACKAGES.get(backend)
    if package and find_spec(package) is None:
        raise KoaError(
            f"The backend {backend} needs the package {package}.", remedy=f"pip install {package}, on every machine."
        )


def _share_of_cores(jobs: int) -> int:
    """Threads of torch for one of so many processes: as the user set them, else an equal share of the cores."""
    import joblib

    return int(os.environ.get("OMP_NUM_THREADS") or max(1, joblib.cpu_count(only_physical_cores=True) // jobs))


def _killed() -> KoaError:
    return KoaError("The process was killed, perhaps for lack of memory.", remedy="Run fewer cells at a time.")
