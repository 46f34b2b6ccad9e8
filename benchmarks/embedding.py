"""Embedding a cohort beside the bare forward pass, and the time of an epoch against the number of knees."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.parts import BareTower, OurStep, fine_tuned, machine, seconds_of, spread, wait_for
from koa_kit.cohort import Cohort
from koa_kit.engine.processes import choose_device
from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.training.step import compute_dtype
from koa_kit.training.views import Progress, embed_cohort

BURSTS = 10
"""Times the bare forward pass is measured while a cohort is embedded."""


def bench_embedding(
    towers: str,
    image_size: int | None,
    cohort: Cohort,
    *,
    batch: int = 64,
    device: str | None = None,
    precision: str = "float32",
    progress: Progress | None = None,
) -> dict:
    """Images/s of `embed_cohort`, nothing cached, and of bare forward passes in between; all knees and their flips.

    Resampling the knees to the tower's size counts as embedding. The record holds ``seconds`` and ``images_per_second``
    of the embedding without the bare passes, ``bare`` (see `spread`) and ``ours_to_limit``, the ratio of images/s.
    """
    model = build_model(
        towers=towers,
        image_size=image_size or 0,
        locked=("image", "text"),
        device=choose_device(device),
    )
    device = model.logit_scale.device
    model.compute_dtype = compute_dtype(precision, device)
    model.eval()
    batch = min(batch, len(cohort))
    bare = BareTower(model, 2 * batch)
    rounds = -(-len(cohort) // batch)
    burst = max(1, rounds // (2 * BURSTS))
    every = max(1, rounds // BURSTS)
    times: list[float] = []
    aside = 0.0

    def between(done: int, total: int) -> None:
        nonlocal aside
        began = time.perf_counter()
        if -(-done // batch) % every == 0 or done == total:
            times.extend(seconds_of(bare.forward, device) for _ in range(burst))
        if progress:
            progress(done, total)
        aside += time.perf_counter() - began

    with torch.inference_mode():
        for _ in range(2):
            bare.forward()
    wait_for(device)
    started = time.perf_counter()
    embed_cohort(model, cohort, batch=batch, cache=False, progress=between)
    seconds = time.perf_counter() - started - aside
    rate, limit = 2 * len(cohort) / seconds, spread(times, 2 * batch)
    return {
        "what": "embedding",
        "towers": towers,
        "image_size": model.spec.image_size,
        "batch": batch,
        "knees": len(cohort),
        "cohort": cohort.name,
        "seconds": seconds,
        "images_per_second": rate,
        "bare": limit,
        "ours_to_limit": rate / limit["images_per_second"],
        "machine": machine(device),
    }


def bench_scaling(
    towers: str,
    image_size: int | None,
    cohort: Cohort,
    sizes: Sequence[int] = (1000, 2000, 4000, 6600),
    batch: int = 64,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    **choices,
) -> pd.DataFrame:
    """Seconds of an epoch of fine-tuning against the number of knees, and how far they are from proportional.

    An epoch is its training steps, nothing else. Each size is measured twice, on the way up and on the way down, so
    that a machine that slows down with time does not look like an epoch that grows out of proportion.

    The choices are those of `TrainConfig`, by default of the method "symmetry_consistency". One row per size:
    ``knees``, ``seconds`` (mean of both), ``up``, ``down``, ``fitted`` by a line through the origin, ``deviation`` from
    it as a share, ``images_per_second``.
    """
    sizes = sorted(sizes)
    if len(cohort) < sizes[-1]:
        raise KoaError(
            f"{sizes[-1]} knees are asked for.", where=f"{cohort.name}: {len(cohort)} knees", remedy="Ask for fewer."
        )
    device = choose_device(device)
    model, config = fine_tuned(towers, image_size, device, choices | {"batch_size": batch})
    steps = {size: -(-size // min(batch, size)) for size in sizes}
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for number, size in enumerate([*sizes, *sizes[::-1]]):
        ours = OurStep(model, cohort.take(np.arange(size)), config, steps[size] + 2)
        for _ in range(2):
            ours()
        taken[size].append(seconds_of(lambda ours=ours, size=size: [ours() for _ in range(steps[size])], device))
        if progress:
            progress(number + 1, 2 * len(sizes))
    table = pd.DataFrame({"knees": sizes, "up": [up for up, _ in taken.values()]})
    table["down"] = [down for _, down in taken.values()]
    table["seconds"] = table[["up", "down"]].mean(axis=1)
    table["fitted"] = table["knees"] * (table["knees"] @ table["seconds"]) / (table["knees"] @ table["knees"])
    table["deviation"] = table["seconds"] / table["fitted"] - 1
    table["images_per_second"] = table["knees"] * (2 if config.sees_flip else 1) / table["seconds"]
    return table[["knees", "seconds", "up", "down", "fitted", "deviation", "images_per_second"]]
