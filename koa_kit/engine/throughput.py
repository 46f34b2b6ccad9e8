"""Images per second of training, operations of a step, and the peak of the hardware."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils import flop_counter

from koa_kit.engine.modes import evaluating

DATA_SHEET_PEAKS = {
    # fragments of torch.cuda.get_device_name, the longer names first: dense 1e12 FLOP/s of NVIDIA's data sheets
    "H100 PCIe": {"bfloat16": 756.0, "float16": 756.0, "tf32": 378.0, "float32": 51.0},
    "H100 NVL": {"bfloat16": 835.0, "float16": 835.0, "tf32": 417.0, "float32": 60.0},
    "H100": {"bfloat16": 989.0, "float16": 989.0, "tf32": 494.0, "float32": 67.0},
    "H200 NVL": {"bfloat16": 835.0, "float16": 835.0, "tf32": 417.0, "float32": 60.0},
    "H200": {"bfloat16": 989.0, "float16": 989.0, "tf32": 494.0, "float32": 67.0},
    "A100": {"bfloat16": 312.0, "float16": 312.0, "tf32": 156.0, "float32": 19.5},
    "L40S": {"bfloat16": 362.0, "float16": 362.0, "tf32": 183.0, "float32": 91.6},
    "RTX 4090": {"bfloat16": 165.2, "float16": 165.2, "tf32": 82.6, "float32": 82.6},
    "T4": {"float16": 65.0, "float32": 8.1},
}


def count_flops(function: Callable, *args) -> int:
    """Floating-point operations of one call, a multiplication and an addition counted as two; the call is carried out.

    Call it with a step, forward and backward, on one batch. Counted are matrix products, convolutions and attention,
    as torch's `FlopCounterMode` knows them, with two mends: attention on a CPU, which it does not know, and the way
    back through a depthwise convolution, which it counts as dense. Fused attention computes its scores again on the
    way back, and they count again. Left out is what takes time but few operations: activations, normalisation,
    softmax, pooling, dropout, resampling, the optimiser. Left out by mistake are compiled kernels and the fused
    transformer layers that torch uses in evaluation without gradients: count before ``torch.compile``, and with
    gradients.

    Parameters
    ----------
    function, *args
        What is called, and with what.

    Examples
    --------
    >>> count_flops(torch.matmul, torch.ones(2, 3), torch.ones(3, 5))
    60
    """
    with flop_counter.FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        function(*args)
    return counter.get_total_flops()


def flops_per_input(model: nn.Module, call: Callable[[Tensor], Tensor], value: Tensor) -> int:
    """Operations of one pass of `value` through `call` and back, in evaluation mode: no statistic changes."""
    with evaluating(model):
        counted = count_flops(lambda: call(value).sum().backward())
    model.zero_grad(set_to_none=True)
    return counted


def _formulas() -> dict:
    """Operations by shapes where torch has no formula, or one that takes a depthwise convolution for a dense one."""
    aten = torch.ops.aten

    def attention(query, key, value, *_, **__):
        return flop_counter.sdpa_flop_count(query, key, value)

    def attention_backward(gradient, query, key, value, *_, **__):
        return flop_counter.sdpa_backward_flop_count(gradient, query, key, value)

    def convolution_backward(gradient, pixels, weight, *options, **_):
        transposed, wanted = options[4], options[7]
        # the gradients of the input and of the weights cost a pass forward each
        forward = flop_counter.conv_flop_count(pixels, weight, gradient, transposed=transposed)
        return forward * sum(wanted[:2])

    return {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
        aten.convolution_backward: convolution_backward,
    }


def peak_flops(device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> tuple[float, str]:
    """Dense peak of a device in FLOP/s, and where the number is from: "data sheet (…)" or "measured matmul (…)".

    Parameters
    ----------
    device
        Such as "cpu" or "cuda". A CPU, a slice of a GPU (MIG) and a GPU whose data sheet is not in `DATA_SHEET_PEAKS`
        are measured, once a process: the fastest of a few large matrix products, which is what the hardware reaches
        rather than what it could.
    dtype
        Of the factors, None for float32; where torch may use TF32 for them, its peak is the one that counts.
    """
    device, dtype = torch.device(device), dtype or torch.float32
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        kind = "tf32" if dtype == torch.float32 and _uses_tf32() else str(dtype).removeprefix("torch.")
        if peak := data_sheet_peak(name, kind):
            return peak, f"data sheet ({name}, {kind})"
    return _measured_peak(str(device), dtype), f"measured matmul ({device.type}, {str(dtype).removeprefix('torch.')})"


def data_sheet_peak(name: str, kind: str) -> float | None:
    """Dense peak in FLOP/s of the GPU of that name for "bfloat16", "float16", "tf32" or "float32"; None if unknown."""
    if "MIG" in name:
        return None
    words = name.replace("-", " ").split()
    for fragment, peaks in DATA_SHEET_PEAKS.items():
        if set(fragment.split()) <= set(words):
            return peaks[kind] * 1e12 if kind in peaks else None
    return None


def _uses_tf32() -> bool:
    return torch.get_float32_matmul_precision() != "highest" or torch.backends.cudnn.allow_tf32


@lru_cache
def _measured_peak(device: str, dtype: torch.dtype) -> float:
    on_gpu = torch.device(device).type == "cuda"
    best = 0.0
    for side in (4096, 8192) if on_gpu else (512, 1024, 2048):
        factor = torch.ones(side, side, device=device, dtype=dtype)
        for _ in range(4):
            started = time.perf_counter()
            factor @ factor
            if on_gpu:
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - started
            best = max(best, 2 * side**3 / seconds)
        if seconds > 0.5:
            break
    return best


class StepClock:
    """Images a second and the share of time spent on data, over the steps of an epoch.

    Times are taken by the device itself: on a GPU by events in its stream that are read at the end only, so that a
    step never waits for them. Time between data and the end of the step before is the GPU's wait for the host, and
    counts.

    Parameters
    ----------
    device
        Where the steps are computed.
    now
        Function that gives the time in seconds, for devices other than a GPU.

    Examples
    --------
    >>> clock = StepClock("cpu")
    >>> for _ in range(2):
    ...     with clock.data():
    ...         batch = torch.ones(8)
    ...     clock.step(len(batch))
    >>> sorted(clock.summary())
    ['data_share', 'images_per_second']
    """

    def __init__(self, device: str | torch.device = "cpu", *, now: Callable[[], float] = time.perf_counter):
        self.device, self.now = torch.device(device), now
        self.restart()

    def restart(self) -> None:
        """Forget all steps; time begins to count with the next data."""
        self.first = self.last = None
        self.spans: list[tuple] = []
        self.images = 0

    @contextmanager
    def data(self) -> Iterator[None]:
        """Block in which a batch is brought to the device and prepared."""
        begin = self._mark()
        if self.first is None:
            self.first = begin
        yield
        self.spans.append((begin, self._mark()))

    def step(self, images: int) -> None:
        """Note that a step over so many images through the image tower is at its end."""
        self.last = self._mark()
        self.images += images

    def summary(self) -> dict[str, float]:
        """``images_per_second`` and ``data_share`` (0 to 1) since the last summary, and restart; nan without a step."""
        if self.first is None or self.last is None:
            return {"images_per_second": float("nan"), "data_share": float("nan")}
        if self.device.type == "cuda":
            self.last.synchronize()
        total = max(self._between(self.first, self.last), 1e-9)
        share = sum(self._between(*span) for span in self.spans) / total
        summary = {"images_per_second": self.images / total, "data_share": share}
        self.restart()
        return summary

    def _mark(self):
        if self.device.type != "cuda":
            return self.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _between(self, begin, end) -> float:
        return begin.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - begin
