"""What every measurement is made of: the machine, a clock, the bare image tower, the kit's step."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.memory import largest_batch
from koa_kit.cohort import Cohort
from koa_kit.model import ClipKoa
from koa_kit.training.batches import Batch, EpochSampler
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.step import TrainingStep, compute_dtype
from koa_kit.training.views import ImageViews
from koa_kit.versions import installed_versions

BATCH_ON_CPU = 16


def machine(device: str | torch.device = "cpu") -> dict:
    """What a measurement is of: command, UTC date, CPU, cores and threads in use, GPU (None without), versions."""
    device = torch.device(device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "versions": installed_versions(),
    }


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Number of cores this process may use."""
    # a container is often given fewer than the machine has
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of(function: Callable[[], object], device: str | torch.device = "cpu") -> float:
    """Seconds of one call, work on a GPU included."""
    device = torch.device(device)
    wait_for(device)
    started = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Return when the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(seconds: list[float], images: int) -> dict:
    """Median and quartiles of the seconds of a step of so many images, images/s at the median, and all seconds."""
    low, middle, high = np.percentile(seconds, [25, 50, 75]).tolist()
    rate = images / middle
    return {"median": middle, "quartiles": [low, high], "images_per_second": rate, "seconds": list(seconds)}


def fine_tuned(towers: str, image_size: int | None, device: str, choices: dict) -> tuple[ClipKoa, TrainConfig]:
    """Model as `fit` makes it, and its configuration: fine-tuning by "symmetry_consistency" but for the `choices`."""
    # the towers' small rate keeps a tower that is trained on noise for long from running away
    base = {"towers": towers, "method": "symmetry_consistency", "regime": "finetune", "tower_rate": 0.02}
    config = TrainConfig(**base | choices)
    model = untrained(config, image_size=image_size or 0, device=device)
    return model, config.with_changes(image_size=model.spec.image_size)


class BareTower:
    """The image tower on random images that lie on the device: the limit of what a step or an embedding can reach.

    Same tower, memory format, autocast type and number of images as beside it; no data, prompts, loss or optimiser.
    """

    def __init__(self, model: ClipKoa, images: int):
        self.tower, self.device, self.dtype = model.image_tower, model.logit_scale.device, model.compute_dtype
        layout = torch.channels_last if model.towers.channels_last else torch.contiguous_format
        random = torch.Generator().manual_seed(0)
        pixels = torch.randn(images, 3, *model.spec.image_shape, generator=random)
        self.pixels = pixels.to(self.device).contiguous(memory_format=layout)
        self.gradient: Tensor | None = None

    def forward(self) -> Tensor:
        """Features of the images."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return self.tower(self.pixels)

    def train(self) -> None:
        """Nothing; runs the tower forward and, from a fixed gradient of its features, backward."""
        for parameter in self.tower.parameters():
            parameter.grad = None
        features = self.forward()
        if self.gradient is None:
            self.gradient = torch.ones_like(features)
        features.backward(self.gradient)


class OurStep:
    """The kit's step as `fit` runs it, made for so many calls; called, it trains on the next batch of knees."""

    def __init__(self, model: ClipKoa, cohort: Cohort, config: TrainConfig, steps: int):
        self.views = ImageViews(model, cohort)
        kl = torch.from_numpy(cohort.table["kl"].to_numpy(dtype=np.int64, copy=True))
        self.order = EpochSampler(len(cohort), config, torch.Generator().manual_seed(config.seed))
        self.step = TrainingStep(model.train(), self.views, kl, config, steps=steps)
        self.batches = self._batches()

    def __call__(self) -> Tensor:
        """Loss parts before the step."""
        return self.step(next(self.batches))

    def _batches(self) -> Iterator[Batch]:
        while True:
            yield from [batch.to(self.views.device) for batch in self.order.epoch()]


def choose_batch(model: ClipKoa, cohort: Cohort, config: TrainConfig) -> int:
    """Knees a step: 16 on a CPU; on a GPU the size beyond which the kit's step gains under 3 %, by `largest_batch`."""
    device = model.logit_scale.device
    if device.type != "cuda":
        return BATCH_ON_CPU

    def step_seconds_at(size: int) -> float:
        # not compiled: each size would be, and the best size is the same
        choices = config.with_changes(batch_size=size, compile="")
        ours = OurStep(model, at_least(cohort, size), choices, 6)
        return statistics.median([seconds_of(ours, device) for _ in range(6)][2:])

    model.compute_dtype = compute_dtype(config.precision, device)
    return largest_batch(step_seconds_at, [2**power for power in range(4, 12)])


def at_least(cohort: Cohort, count: int) -> Cohort:
    """The cohort, its knees repeated where there are fewer than `count`."""
    return cohort if len(cohort) >= count else cohort.take(np.resize(np.arange(len(cohort)), count))
