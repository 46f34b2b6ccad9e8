"""How does it learn? One `fit` for both regimes and all methods; the run folder it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout

from koa_kit.cohort import Cohort
from koa_kit.data.splits import DEVELOPMENT, set_aside
from koa_kit.engine.processes import Processes, find_processes
from koa_kit.errors import KoaError
from koa_kit.model import load_checkpoint, read_record
from koa_kit.training.config import TrainConfig
from koa_kit.training.embedding_cache import Progress
from koa_kit.training.epochs import Training
from koa_kit.training.run import RESULTS, Run, load_run, write_predictions
from koa_kit.training.state import begin_state, check_same_run, clear_state, load_state
from koa_kit.training.step import naming_a_smaller_batch
from koa_kit.training.untrained import untrained_model
from koa_kit.versions import versions


def fit(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    resume: bool = False,
    save_minutes: float = 5.0,
    on_epoch: Callable[[dict], None] | None = None,
    on_embedding: Progress | None = None,
) -> Run:
    """Train on the cohort's train split, keep the epoch with the best QWK on its val split, and write a run folder.

    With ``config.development`` a share of the train patients is left out, and scored once at the end.

    Started by ``accelerate launch`` as several processes, they share the batches of one run.

    Parameters
    ----------
    cohort
        With splits "train" and "val".
    config
        Choices of the run.
    folder
        Run folder; without `resume`, results of an earlier run in it are removed first.
    device
        Such as "cpu" or "cuda"; omitted, a GPU if there is one.
    resume
        Go on where a killed run left its state: on a CPU the result is that of the uninterrupted run, bit for bit. A
        run that is finished is read, one that never began is begun.
    save_minutes
        The state is kept after every epoch, and so often within one.
    on_epoch
        Called after each epoch with its row of the history.
    on_embedding
        Called with (done, total) while features are computed.

    Raises
    ------
    KoaError
        If a split is missing or a name unknown: an earlier run in the folder is left as it was. If the loss or a
        logit stops being finite: the folder then holds no predictions and no metrics, and `load_run` refuses it. If
        memory or disk do not suffice, another process trains into the folder, or a run to resume was begun with
        other choices or knees.
    """
    folder, processes = Path(folder), find_processes(device)
    with _alone_in(folder, processes, wait=False):
        return _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding)


def fit_or_load(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    save_minutes: float = 5.0,
    on_epoch: Callable[[dict], None] | None = None,
    on_embedding: Progress | None = None,
) -> Run:
    """Run of these choices on this cohort: read from `folder` if it holds exactly that, else trained by `fit`.

    What a notebook calls, so that a cell may be run twice and a later notebook finds what an earlier one trained.
    Where the same run was interrupted, it goes on; where another process is training it, it is waited for.
    """
    folder, processes = Path(folder), find_processes(device)
    with _alone_in(folder, processes, wait=True):
        resume = _is_of(folder, cohort, config, processes)
        if resume and (folder / "metrics.json").is_file() and read_record(folder)["versions"] != versions():
            resume = False
        return _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding)


def _is_of(folder: Path, cohort: Cohort, config: TrainConfig, processes: Processes) -> bool:
    if not (folder / "config.yaml").is_file():
        return False
    try:
        check_same_run(folder, config, cohort, processes)
    except KoaError:
        return False
    return True


def _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding) -> Run:
    cohort = set_aside(cohort, config.development)
    train, val = cohort.split("train"), cohort.split("val")
    if config.batch_size % processes.count:
        raise KoaError(
            f"{processes.count} processes cannot share batches of {config.batch_size} knees equally.",
            remedy=f"Choose a multiple: --set batch_size={-(-config.batch_size // processes.count) * processes.count}.",
        )
    resume = resume and (folder / "config.yaml").is_file()
    if resume:
        check_same_run(folder, config, cohort, processes)
        if (folder / "metrics.json").is_file():
            clear_state(folder)
            return load_run(folder, device=str(processes.device))
    processes.wait()
    on_gpu = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu), naming_a_smaller_batch(config):
        torch.manual_seed(config.seed)
        model = untrained_model(config, device=str(processes.device))
        # only now: a misspelt tower or prompt set must not cost the run that was here
        if processes.main:
            _prepare(folder, config, cohort, processes, resume)
        facts = {
            "seed": config.seed,
            "method": config.method,
            "cohort": cohort.name,
            "cohort_fingerprint": cohort.fingerprint,
        }
        training = Training(model, train, val, config, folder, facts, processes, on_embedding)
        if resume and (state := load_state(folder)):
            training.restore(state)
        history = training.run(save_minutes=save_minutes, on_epoch=on_epoch)
        del training, model
    if processes.main:
        _finish(folder, config, cohort, history, str(processes.device))
    processes.wait()
    return load_run(folder, device=str(processes.device))


def _prepare(folder: Path, config: TrainConfig, cohort: Cohort, processes: Processes, resume: bool) -> None:
    if not resume:
        # the mark of a finished run goes first: whatever is left of it then does not count as one
        for name in reversed(RESULTS):
            (folder / name).unlink(missing_ok=True)
        clear_state(folder)
    # what a killed process was writing; nobody else writes here while the folder is held
    for name in ("config.yaml", *RESULTS):
        for unfinished in folder.glob(f".{name}.*"):
            unfinished.unlink()
    config.write(folder / "config.yaml")
    begin_state(folder, cohort, processes)


def _finish(folder: Path, config: TrainConfig, cohort: Cohort, history: pd.DataFrame, device: str) -> None:
    run = Run(folder, config, load_checkpoint(folder, device=device), history, pd.DataFrame())
    # val last: its metrics are the mark of a finished run
    for split in ((DEVELOPMENT,) if config.development else ()) + ("val",):
        write_predictions(folder, *run.predict(cohort.split(split)), stem="" if split == "val" else f"{split}-")
    clear_state(folder)


@contextmanager
def _alone_in(folder: Path, processes: Processes, *, wait: bool) -> Iterator[None]:
    """Hold the run folder; a process that dies lets go of it."""
    if not processes.main:
        processes.wait()
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise KoaError(
            "Another process is training into this run folder.",
            where=folder,
            remedy="Wait for it, or give this run another name.",
        ) from None
    processes.wait()
    try:
        yield
    finally:
        lock.release()
