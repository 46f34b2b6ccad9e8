"""Where the trials of a grid are trained: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from koa_kit.errors import KoaError

if TYPE_CHECKING:
    from distributed import Client

    from koa_kit.comparison.trial import Trial

BACKENDS = ("loky", "dask")
MOST = 1024  # processes or threads: more would only bring a machine down
Outcomes = Generator[tuple[str, dict | Exception], None, None]


def require_usable(backend: str, jobs: int | None, threads: int | None, scheduler: str | None) -> None:
    """Raise `KoaError` if there is no such backend, its package is missing, or the numbers make no sense."""
    if backend not in BACKENDS:
        raise KoaError(f"There is no backend {backend!r}.", remedy=f"Choose from {', '.join(BACKENDS)}.")
    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and not 1 <= value <= MOST:
            raise KoaError(f"{name} must be 1 to {MOST}.", where=f"{name}={value}")
    if scheduler and backend == "loky":
        raise KoaError("A scheduler goes with a cluster.", where=scheduler, remedy="Add --backend dask.")
    if backend == "dask" and find_spec("distributed") is None:
        raise KoaError("Dask needs the package distributed.", remedy="pip install distributed, on every machine.")


def trial_outcomes(
    task: Callable, trials: Sequence[Trial], folder: Path, *, backend: str, jobs=None, threads=None, scheduler=None
) -> Outcomes:
    """Names of trials and what became of them, as they end: what `task` returns, or the error that prevented it.

    A killed process takes along the trials that ran, or on a cluster waited, beside it. Each of the first ones left is
    therefore repeated alone, which shows whose fault it was. `task`, called as ``task(trial, threads=threads)``, must
    raise nothing.
    """
    jobs = jobs or 1
    with ExitStack() as stack:
        client = stack.enter_context(_dask_client(scheduler, jobs, folder)) if backend == "dask" else None
        cores = joblib.cpu_count(only_physical_cores=True)
        share = int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // jobs))
        if client and scheduler:
            jobs, share = len(client.nthreads()), min(client.nthreads().values())
        call = partial(task, threads=threads or share)
        run = partial(_on_dask, client, call) if client else partial(_in_processes, jobs, call)
        left = {trial.name: trial for trial in trials}
        while left:
            for name, outcome in run(list(left.values())):
                del left[name]
                yield name, outcome
            for name in list(left)[:jobs]:
                killed = KoaError("The process was killed, perhaps for lack of memory.", remedy="Run fewer at a time.")
                yield from list(run([left.pop(name)])) or [(name, killed)]


def _in_processes(jobs: int, call: Callable, trials: Sequence[Trial]) -> Outcomes:
    """Outcomes from processes of this machine, until one is killed; one job is this process."""
    pool = joblib.Parallel(jobs, backend="loky", batch_size=1, pre_dispatch="all", return_as="generator_unordered")
    with suppress(BrokenProcessPool):
        yield from pool(joblib.delayed(call)(trial) for trial in trials)


def _on_dask(client: Client, call: Callable, trials: Sequence[Trial]) -> Outcomes:
    """Outcomes from a Dask cluster, but of those whose worker was killed.

    Not by ``joblib.parallel_config(backend="dask")``: that waits for ever once a worker is killed, and trains in this
    process where the cluster has one worker.
    """
    import distributed

    # not pure: the same trial repeated must be trained, not looked up
    running = {client.submit(call, trial, pure=False): trial.name for trial in trials}
    for future in distributed.as_completed(running, loop=client.loop):
        error = future.exception()
        if not isinstance(error, distributed.KilledWorker):
            yield (running[future], error) if error else future.result()


@contextmanager
def _dask_client(scheduler: str | None, jobs: int, folder: Path) -> Iterator[Client]:
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
        started = {"n_workers": jobs, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
        options = {} if scheduler else started | {"silence_logs": logging.CRITICAL}
        try:
            client = distributed.Client(scheduler, timeout=10, set_as_default=False, **options)
            stack.enter_context(client)
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
            remedy = "Put it on a disk that all machines share under one path."
            raise KoaError(
                "A worker does not see the folder of the grid.", where=f"{blind[0]}: {folder}", remedy=remedy
            )
        yield client
