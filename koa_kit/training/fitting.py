"""`fit`: a run folder around the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from koa_kit.cohort import Cohort
from koa_kit.configuration import write_yaml
from koa_kit.data.splits import check_apart, set_aside
from koa_kit.engine import run_folder
from koa_kit.engine.hooks import naming_a_smaller_batch
from koa_kit.engine.identity import clear_state, clear_unfinished, read_identity, refuse_other_run
from koa_kit.engine.processes import find_processes
from koa_kit.engine.resume import alone_in
from koa_kit.errors import KoaError
from koa_kit.model.checkpoint import read_record
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.loop import Training
from koa_kit.training.run import Run, finish, load_run
from koa_kit.versions import installed_versions


def fit(
    cohort: Cohort,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
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
        Run folder. A run that lies there is left as it was, and `KoaError` is raised, without one of the next two; so
        is any folder that holds anything else.
    device
        Such as "cpu" or "cuda"; omitted, a GPU if there is one.
    resume
        Go on where a killed run left its state: on a CPU the result is that of the uninterrupted run, bit for bit. A
        run that is finished is read, one that never began is begun.
    overwrite
        Let the new run take the place of one that lies there, once it is finished; what else is in the folder stays.
    save_minutes
        The state is kept after every epoch, and so often within one.
    on_epoch
        Called after each epoch with its row of the history.
    on_embedding
        Called with (done, total) while features are computed.

    Raises
    ------
    KoaError
        If a split is missing, a name unknown, or the folder not free. If the loss or a logit stops being finite: the
        new run then has no predictions and no metrics, and `load_run` refuses it. If memory or disk do not suffice,
        another process trains into the folder, or a run to resume was begun with other choices or knees.
    """
    folder, processes = Path(folder), find_processes(device)
    folder = folder.resolve() if folder.is_symlink() else folder  # or the link would be replaced, not the run
    run_folder.check_free(folder, overwrite or resume)
    with alone_in(folder, processes, wait=False):
        run_folder.check_free(folder, overwrite or resume)  # again: another process may just have finished one here
        return _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding)


def fit_or_load(
    cohort: Cohort, config: TrainConfig, folder: str | Path, *, device: str | None = None, **options
) -> Run:
    """Run of these choices on this cohort: read from `folder` if it holds exactly that, else trained by `fit`.

    What a notebook calls, so that a cell may be run twice and a later notebook finds what an earlier one trained.
    Where the same run was interrupted, it goes on; where another process is training it, it is waited for; where
    another run lies, this one takes its place when it is finished. `options` are those of `fit`.
    """
    folder, processes = Path(folder), find_processes(device)
    run_folder.check_free(folder, overwrite=True)
    with alone_in(folder, processes, wait=True):
        there = run_folder.under_way(folder)
        resume = _holds(there, config, set_aside(cohort, config.holdout), processes)
        if resume and run_folder.is_finished(there) and read_record(there)["versions"] != installed_versions():
            resume = False
        given = {"save_minutes": 5.0, "on_epoch": None, "on_embedding": None} | options
        return _fit(cohort, config, folder, processes, resume, **given)


def _fit(cohort, config, folder, processes, resume, save_minutes, on_epoch, on_embedding) -> Run:
    cohort = set_aside(cohort, config.holdout)
    check_apart(cohort)
    train, val = cohort.split("train"), cohort.split("val")
    if (size := min(config.batch_size, len(train))) % processes.count:
        raise KoaError(
            f"{processes.count} processes cannot share batches of {size} knees equally.",
            remedy=f"Choose a multiple: --set batch_size={-(-size // processes.count) * processes.count}.",
        )
    device = str(processes.device)
    there = run_folder.under_way(folder)
    resume = resume and run_folder.can_go_on(there)
    if resume:
        _check_same_run(there, config, cohort, processes)
        if run_folder.is_finished(there):
            if processes.main:
                clear_state(there)
                run_folder.settle(folder)
            processes.wait()
            return load_run(folder, device=device)
    processes.wait()
    on_gpu = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu), naming_a_smaller_batch(config.batch_size, config.image_size):
        torch.manual_seed(config.seed)
        model = untrained(config, device=device)
        # only now: a misspelt tower or prompt set must not leave a folder
        if processes.main and not resume:
            facts = {"cohort": cohort.name, "cohort_fingerprint": cohort.fingerprint, "processes": processes.count}
            write_yaml(config, run_folder.begin(folder, facts) / run_folder.CONFIG)
        processes.wait()
        there = run_folder.under_way(folder)
        if processes.main:
            clear_unfinished(there, (run_folder.CONFIG, *run_folder.RESULTS))
        training = Training(model, train, val, config, there, processes, save_minutes * 60, on_embedding)
        if resume:
            training.state.restore()
        history = training.run(on_epoch)
        del training, model
    if processes.main:
        finish(there, config, cohort, history, device)
        run_folder.settle(folder)
    processes.wait()
    return load_run(folder, device=device)


def _check_same_run(folder: Path, config: TrainConfig, cohort: Cohort, processes) -> None:
    """Raise `KoaError` naming every difference if a run has other choices, knees or another number of processes."""
    there, asked = asdict(TrainConfig.read(folder / run_folder.CONFIG)), asdict(config)
    facts = {"processes": processes.count} | read_identity(folder)
    there["processes"], asked["processes"] = facts["processes"], processes.count
    if facts.get("cohort_fingerprint", cohort.fingerprint) != cohort.fingerprint:
        there["cohort"] = f"{facts.get('cohort')} ({facts['cohort_fingerprint']})"
        asked["cohort"] = f"{cohort.name} ({cohort.fingerprint})"
    refuse_other_run(folder, there, asked)


def _holds(folder: Path, config: TrainConfig, cohort: Cohort, processes) -> bool:
    """True if the folder holds a run of these choices on this cohort, finished or not."""
    if not run_folder.can_go_on(folder):
        return False
    try:
        _check_same_run(folder, config, cohort, processes)
    except KoaError:
        return False
    return True
