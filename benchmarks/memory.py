"""Peak memory of this process, and the largest batch that still pays."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from koa_kit.errors import KoaError

SMALLEST_GAIN = 0.03
"""A batch twice as large has to give so much more images a second to be worth its memory."""


def peak_memory_mb() -> dict[str, float]:
    """Largest memory in use so far, in MB (1e6 bytes): "process" of this process, "gpu" of tensors where one is used.

    On Linux the high-water mark of the address space: ``ru_maxrss`` would hand a child its parent's. nan on Windows.
    """
    peaks = {"process": _peak_of_process() / 1e6}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["gpu"] = torch.cuda.max_memory_allocated() / 1e6
    return peaks


def _peak_of_process() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def largest_batch(
    step_seconds_at: Callable[[int], float], candidates: Iterable[int] = tuple(2**power for power in range(3, 13))
) -> int:
    """Batch size beyond which a larger one no longer gives 3 % more images a second, or does not fit into memory.

    `step_seconds_at` gives the seconds of one step with so many knees and may raise `torch.OutOfMemoryError`; the
    candidates go from small to large, usually each twice the one before.
    """
    best, rate = None, 0.0
    for size in candidates:
        seconds = _seconds_or_none(step_seconds_at, size)
        if seconds is None or size / seconds < rate * (1 + SMALLEST_GAIN):
            break
        best, rate = size, size / seconds
    if best is None:
        raise KoaError("Out of memory with the smallest batch.", remedy="Choose a smaller image size or other towers.")
    return best


def _seconds_or_none(step_seconds_at: Callable[[int], float], size: int) -> float | None:
    try:
        return step_seconds_at(size)
    except torch.OutOfMemoryError:
        pass
    # after the block: the error held the frames, and with them the tensors of the step that did not fit
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
