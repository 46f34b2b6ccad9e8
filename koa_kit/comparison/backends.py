"""Where the cells of a grid are trained: in processes of this machine, on a Dask cluster, on a Ray cluster."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from koa_kit.errors import KoaError

if TYPE_CHECKING:
    from koa_kit.comparison.trial import Cell


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
"""By name: functions that yield names of cells and what became of them, as they end."""
_PACKAGES = {"dask": "distributed", "ray": "ray"}


def require_usable(backend: str, jobs: int | None, threads: int | None, scheduler: str | None) -> None:
    """Raise `KoaError` if there is no such backend, its package is missing, or the numbers make no sense."""
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
