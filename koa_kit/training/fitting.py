"""`fit`: a run folder around the training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from koa_kit.cohort import Cohort
from koa_kit.data.splits import set_aside
from koa_kit.engine.hooks import naming_a_smaller_batch
from koa_kit.engine.processes import find_processes
from koa_kit.engine.resume import alone_in, clear_state
from koa_kit.errors import KoaError
from koa_kit.model.checkpoint import read_record
from koa_kit.training import run as folders
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.loop import Training
from koa_kit.training.run import Run, load_run
from koa_kit.versions import installed_versions


def fit(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    resume: bool = False,
    save_minutes: float = 5.0,
    on_epoch: Callable[[dict], None] | None = None,
    on_embedding: Callable[[int, int], None] | None = None,
) -> Run:
    """Train on the cohort's train split, keep the epoch with the best QWK on its val split, and write a run folder.

    With ``config.holdout`` a share of the train patients is left out, and scored once at the end.

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
    with alone_in(folder, processes, wait=False):
        return _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding)


def fit_or_load(
    cohort: Cohort, config: TrainConfig, folder: str | Path, *, device: str | None = None, **options
) -> Run:
    """Run of these choices on this cohort: read from `folder` if it holds exactly that, else trained by `fit`.

    What a notebook calls, so that a cell may be run twice and a later notebook finds what an earlier one trained.
    Where the same run was interrupted, it goes on; where another process is training it, it is waited for. `options`
    are those of `fit`.
    """
    folder, processes = Path(folder), find_processes(device)
    with alone_in(folder, processes, wait=True):
        resume = folders.holds(folder, config, set_aside(cohort, config.holdout), processes)
        if resume and (folder / "metrics.json").is_file() and read_record(folder)["versions"] != installed_versions():
            resume = False
        given = {"save_minutes": 5.0, "on_epoch": None, "on_embedding": None} | options
        return _fit(cohort, config, folder, processes, resume, **given)


def _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding) -> Run:
    cohort = set_aside(cohort, config.holdout)
    train, val = cohort.split("train"), cohort.split("val")
    if (size := min(config.batch_size, len(train))) % processes.count:
        raise KoaError(
            f"{processes.count} processes cannot share batches of {size} knees equally.",
            remedy=f"Choose a multiple: --set batch_size={-(-size // processes.count) * processes.count}.",
        )
    device = str(processes.device)
    resume = resume and (folder / "config.yaml").is_file()
    if resume:
        folders.check_same_run(folder, config, cohort, processes)
        if (folder / "metrics.json").is_file():
            clear_state(folder)
            return load_run(folder, device=device)
    processes.wait()
    on_gpu = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu), naming_a_smaller_batch(config.batch_size, config.image_size):
        torch.manual_seed(config.seed)
        model = untrained(config, device=device)
        # only now: a misspelt tower or prompt set must not cost the run that was here
        if processes.main:
            folders.prepare_folder(folder, config, cohort, processes, resume)
        training = Training(model, train, val, config, folder, processes, save_minutes * 60, on_embedding)
        if resume:
            training.state.restore()
        history = training.run(on_epoch)
        del training, model
    if processes.main:
        folders.finish_folder(folder, config, cohort, history, device)
    processes.wait()
    return load_run(folder, device=device)
