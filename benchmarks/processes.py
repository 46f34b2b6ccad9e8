"""What needs a process of its own to be measured: peak memory of fine-tuning, start-up, and reading a cohort."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.memory import peak_memory_mb
from benchmarks.parts import BATCH_ON_CPU, at_least, machine
from koa_kit.cohort import Cohort
from koa_kit.data import load_cohort
from koa_kit.engine.processes import choose_device
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.fitting import fit

VAL_KNEES = 256

START_UPS = {
    "python": "pass",
    "import koa_kit": "import koa_kit",
    "import torch": "import torch",
    "make model": "from koa_kit.model import build_model; "
    "build_model(towers={towers!r}, image_size={image_size!r} or 0)",
}


def bench_memory(
    towers: str,
    image_size: int | None = None,
    batch: int | None = None,
    *,
    dataset: str | Path = "phantom",
    data_dir: str | Path | None = None,
    knees: int | None = None,
    steps: int = 6,
    device: str | None = None,
    **choices,
) -> dict:
    """Peak memory of fine-tuning in MB, measured in a fresh process: steps, scoring on val, checkpoint, saved state.

    All train knees lie in memory as in a whole run; 256 val knees are scored after the steps. The record holds
    ``peak_mb`` of the process and, on a GPU, ``gpu_peak_mb`` of its tensors; ``before_mb``, the peak before the model
    is made, of Python, torch and the packages.
    """
    config = _config(towers, image_size, batch, choices)
    work = {"dataset": dataset, "data_dir": data_dir, "knees": knees, "steps": steps, "device": device}
    # spawned, not forked: a fork would begin with the pages of this process
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        measured = fresh.submit(_memory, config, **work).result()
    facts = {"towers": towers, "image_size": config.image_size, "batch": config.batch_size, "steps": steps}
    return {"what": "memory", **facts, **measured, "machine": machine(choose_device(device))}


def _config(towers: str, image_size: int | None, batch: int | None, choices: dict) -> TrainConfig:
    from koa_kit.model import make_towers

    base = {"method": "symmetry_consistency", "tower_rate": 0.02}
    size = image_size or make_towers(towers).image_size
    return TrainConfig(
        **base | choices, towers=towers, image_size=size, regime="finetune", epochs=1, batch_size=batch or BATCH_ON_CPU
    )


def _memory(config: TrainConfig, *, dataset, data_dir, knees, steps: int, device: str | None) -> dict:
    before = peak_memory_mb()["process"]
    phantoms = {"patients": -(-knees // 2)} if knees else {}
    cohort = load_cohort(dataset, data_dir=data_dir, **phantoms)
    return {"before_mb": before, "knees": len(cohort)} | memory_of_fit(cohort, config, steps=steps, device=device)


def memory_of_fit(cohort: Cohort, config: TrainConfig, *, steps: int, device: str | None = None) -> dict[str, float]:
    """Peak memory of this process so far in MB, after `fit` over so many steps with all train knees in memory."""
    train = cohort.split("train")
    resident = untrained(config).resampled(train.images).to(choose_device(device))
    used = at_least(train, steps * config.batch_size).take(np.arange(steps * config.batch_size))
    val = cohort.split("val")
    part = _joined(used, val.take(np.arange(min(VAL_KNEES, len(val)))))
    with tempfile.TemporaryDirectory() as folder:
        fit(part, config, Path(folder) / "run", device=device)
    peaks = peak_memory_mb()
    del resident
    return {"peak_mb": peaks["process"]} | ({"gpu_peak_mb": peaks["gpu"]} if "gpu" in peaks else {})


def _joined(train: Cohort, val: Cohort) -> Cohort:
    import pandas as pd

    table = pd.concat([train.table, val.table], ignore_index=True)
    return Cohort(train.name, np.concatenate([train.images, val.images]), table, train.fingerprint)


def bench_startup(towers: str, image_size: int | None = None, *, repeats: int = 3) -> dict:
    """Seconds, the least of `repeats`, in which a new Python starts, imports the kit or torch, or makes a model."""
    seconds = {}
    for name, code in START_UPS.items():
        command = [sys.executable, "-c", code.format(towers=towers, image_size=image_size)]
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        seconds[name] = min(times)
    return {"what": "startup", "towers": towers, "seconds": seconds, "machine": machine()}


def bench_cache(
    dataset: str | Path = "phantom", *, data_dir: str | Path | None = None, knees: int | None = None
) -> dict:
    """Seconds in which a cohort is drawn or read into an empty cache, and in which it is opened again from there."""
    phantoms = {"patients": -(-knees // 2)} if knees else {}
    with tempfile.TemporaryDirectory() as cache:
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            cohort = load_cohort(dataset, data_dir=data_dir, cache_dir=cache, **phantoms)
            seconds.append(time.perf_counter() - started)
            count = len(cohort)
            del cohort  # Windows removes no file that is mapped
    build, reopen = seconds
    record = {"what": "cache", "dataset": str(dataset), "knees": count, "build_seconds": build}
    return record | {"knees_per_second": count / build, "open_seconds": reopen, "machine": machine()}
