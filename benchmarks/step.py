"""A step side by side: the tutorial baseline, the kit's, and the limit, which is the image tower and nothing else."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.parts import (
    BareTower,
    OurStep,
    at_least,
    choose_batch,
    cores,
    fine_tuned,
    machine,
    seconds_of,
    spread,
    wait_for,
)
from benchmarks.throughput import flops_per_input, peak_flops
from benchmarks.tutorial_baseline import TutorialStep
from koa_kit.cohort import Cohort
from koa_kit.engine.hooks import naming_a_smaller_batch
from koa_kit.engine.processes import choose_device
from koa_kit.model import make_towers
from koa_kit.training.views import Progress

FILES = 256
"""Knees the tutorial baseline reads from files; more would only take longer to write."""
BURST_EVERY = 5


def bench_step(
    towers: str = "lite0-minilm",
    image_size: int | None = None,
    batch: int | None = None,
    *,
    cohort: Cohort | None = None,
    steps: int = 20,
    warmup: int = 3,
    device: str | None = None,
    usual: bool = True,
    captions: str = "view",
    workers: int | None = None,
    progress: Progress | None = None,
    **choices,
) -> dict:
    """Times of a training step, measured in turns in this process: the tutorial baseline, the kit, and the bare tower.

    An image is one view of a knee, so a step with the flip has twice as many. Omitted, the cohort is 80 phantoms (too
    few for a batch are repeated) and the batch 16 on a CPU, by `largest_batch` on a GPU. `captions` are of the
    baseline, see `TutorialStep`, and so are `workers`: omitted, none on a CPU, whose cores they would take from the
    training, and up to 8 beside a GPU. With processes it is timed in bursts of consecutive steps, so that they have
    ended when others are timed. The choices are those of `TrainConfig`, by default of the method
    "symmetry_consistency".

    The record holds ``usual`` (the tutorial baseline; None where it was not measured), ``ours`` and ``limit``: each
    ``median`` and ``quartiles`` of seconds, ``images_per_second``, ``seconds``, and ``rounds`` they were measured in.
    ``ours_to_limit`` and ``ours_to_usual``: ratio of images/s, the median over rounds, above 1 where the kit is faster.
    ``flops_per_step`` of the image tower, forward and backward; done in that time they are the ``peak_fraction`` of
    ``peak_flops`` that ``ours`` and ``limit`` reach.
    """
    from koa_kit.phantom import phantom_cohort

    cohort, device = cohort or phantom_cohort(40), choose_device(device)
    model, config = fine_tuned(towers, image_size, device, choices)
    batch = batch or choose_batch(model, cohort, config)
    config = config.with_changes(batch_size=batch)
    with naming_a_smaller_batch(batch, config.image_size), tempfile.TemporaryDirectory() as folder:
        images = batch * (2 if config.sees_flip else 1)
        image = torch.zeros(1, *model.spec.image_shape, device=device)
        # before the step compiles the tower: the counter does not see into compiled kernels
        flops = flops_per_input(model, model.image_features, image) * images
        ours = OurStep(model, at_least(cohort, batch), config, warmup + steps)
        bare = BareTower(model, images)
        contenders: dict[str, Callable] = {"ours": ours, "limit": bare.train}
        workers = (min(8, cores()) if torch.device(device).type == "cuda" else 0) if workers is None else workers
        recipe = None
        if usual:
            recipe = TutorialStep(
                make_towers(towers, image_size=config.image_size, device=device),
                at_least(cohort.take(np.arange(min(len(cohort), FILES))), batch),
                folder,
                batch=batch,
                prompts=config.prompts,
                flip=config.sees_flip,
                captions=captions,
                device=device,
                dtype=model.compute_dtype,
                workers=workers,
            )
            if not workers:
                contenders = {"usual": recipe, **contenders}
        seconds, rounds = _take_turns(contenders, recipe if workers else None, steps, warmup, device, progress)
    peak, source = peak_flops(device, model.compute_dtype)
    record = {
        "what": "step",
        "towers": towers,
        "image_size": config.image_size,
        "batch": batch,
        "images_per_step": images,
        "method": config.method,
        "precision": "float32" if model.compute_dtype is None else str(model.compute_dtype).removeprefix("torch."),
        "compile": config.compile,
        "train_text": config.train_text,
        "steps": steps,
        "captions": captions if usual else None,
        "workers": workers if usual else None,
        "flops_per_step": flops,
        "peak_flops": peak,
        "peak_source": source,
        "usual": None,
    }
    for name, times in seconds.items():
        record[name] = spread(times, images) | {"rounds": rounds[name]}
        if name != "usual":
            record[name]["peak_fraction"] = flops / record[name]["median"] / peak
    for other in ("limit", "usual"):
        record[f"ours_to_{other}"] = _ratio(seconds, rounds, other) if other in seconds else None
    return record | {"machine": machine(device)}


def _ratio(seconds: dict, rounds: dict, other: str) -> float:
    pairs = zip(rounds[other], seconds[other], strict=True)
    return statistics.median(theirs / seconds["ours"][turn] for turn, theirs in pairs)


def _take_turns(contenders, recipe, steps, warmup, device, progress) -> tuple[dict, dict]:
    """Seconds of each contender, and the rounds they were taken in; `recipe` is timed in bursts."""
    names = [*contenders, *(["usual"] if recipe else [])]
    seconds, rounds = ({name: [] for name in names} for _ in range(2))
    for turn in range(-warmup, steps):
        # there and back, so that none always runs on what another left in the caches
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            taken = seconds_of(contenders[name], device)
            if turn >= 0:
                seconds[name].append(taken)
                rounds[name].append(turn)
        if recipe and (turn == -1 or (turn >= 0 and turn % BURST_EVERY == 0)):
            taken = _seconds_in_burst(recipe, torch.device(device))
            if turn >= 0:
                seconds["usual"].append(taken)
                rounds["usual"].append(turn)
        if progress:
            progress(turn + warmup + 1, warmup + steps)
    return seconds, rounds


def _seconds_in_burst(recipe: TutorialStep, device: torch.device) -> float:
    """Seconds a step, from the end of the first, when the loader is at work, to that of the last."""
    count = max(8, 3 * recipe.workers)
    for number, _ in enumerate(recipe.steps(count)):
        if number == 0:
            wait_for(device)
            started = time.perf_counter()
        elif number == count - 1:
            wait_for(device)
            ended = time.perf_counter()
    return (ended - started) / (count - 1)
