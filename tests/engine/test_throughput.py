"""How fast a step is: counted operations, peaks, the clock of an epoch, peak memory, the batch that pays."""

import math
import resource
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from koa_kit.engine.throughput import (
    StepClock,
    count_flops,
    data_sheet_peak,
    largest_batch,
    peak_flops,
    peak_memory_mb,
)
from koa_kit.errors import KoaError


def test_a_linear_layer_costs_two_operations_a_weight_and_row_forward_and_twice_that_backward():
    layer, rows = nn.Linear(6, 4, bias=False), torch.ones(5, 6, requires_grad=True)
    forward = 2 * 5 * 6 * 4
    assert count_flops(layer, rows) == forward
    assert count_flops(lambda: layer(rows).sum().backward()) == 3 * forward


def test_a_convolution_costs_two_operations_a_weight_and_output_pixel():
    convolution = nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, bias=False)
    assert count_flops(convolution, torch.ones(2, 3, 16, 16)) == 2 * 2 * (8 * 8) * 8 * (3 * 3 * 3)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolution_costs_twice_as_much_backward_also_where_it_is_depthwise(groups):
    convolution = nn.Conv2d(8, 8, kernel_size=3, padding=1, groups=groups, bias=False)
    pixels = torch.ones(2, 8, 6, 6, requires_grad=True)
    forward = 2 * 2 * (6 * 6) * 8 * (8 // groups * 3 * 3)
    assert count_flops(convolution, pixels) == forward
    assert count_flops(lambda: convolution(pixels).sum().backward()) == 3 * forward
    assert count_flops(lambda: convolution(pixels.detach()).sum().backward()) == 2 * forward


def test_attention_counts_though_a_cpu_computes_it_in_one_kernel():
    heads = torch.ones(2, 4, 16, 8, requires_grad=True)
    scores_and_values = 2 * (2 * 4) * 2 * 16 * 16 * 8
    assert count_flops(functional.scaled_dot_product_attention, heads, heads, heads) == scores_and_values
    both_ways = count_flops(lambda: functional.scaled_dot_product_attention(heads, heads, heads).sum().backward())
    assert both_ways >= 3 * scores_and_values


@pytest.mark.parametrize(
    ("name", "kind", "teraflops"),
    [
        ("NVIDIA H200", "bfloat16", 989.0),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.0),
        ("NVIDIA H100 PCIe", "bfloat16", 756.0),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312.0),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
        ("Tesla T4", "float16", 65.0),
    ],
)
def test_the_peak_of_a_known_gpu_is_that_of_its_data_sheet(name, kind, teraflops):
    assert data_sheet_peak(name, kind) == teraflops * 1e12


@pytest.mark.parametrize(
    ("name", "kind"),
    [("NVIDIA H200 MIG 1g.18gb", "bfloat16"), ("Tesla T4", "bfloat16"), ("NVIDIA GH200 480GB", "bfloat16")],
)
def test_a_slice_or_an_unknown_gpu_gets_no_data_sheet_of_another(name, kind):
    assert data_sheet_peak(name, kind) is None


def test_the_peak_of_a_cpu_is_measured_once():
    peak, source = peak_flops("cpu")
    assert source == "measured matmul (cpu, float32)"
    assert math.isfinite(peak)
    assert peak > 0
    assert peak_flops(torch.device("cpu"), torch.float32) == (peak, source)


class HandClock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_tells_images_a_second_and_the_share_of_data():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(4):
        with clock.data():
            hand.seconds += 0.5
        hand.seconds += 1.5
        clock.step(16)
    assert clock.summary() == pytest.approx({"images_per_second": 64 / 8, "data_share": 0.25})


def test_time_between_epochs_does_not_count():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(2):
        with clock.data():
            hand.seconds += 1
        hand.seconds += 1
        clock.step(10)
        summary = clock.summary()
        hand.seconds += 1000
    assert summary == pytest.approx({"images_per_second": 5.0, "data_share": 0.5})


def test_waiting_between_two_steps_of_an_epoch_counts():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(2):
        with clock.data():
            hand.seconds += 1
        clock.step(10)
        hand.seconds += 8
    assert clock.summary()["images_per_second"] == pytest.approx(20 / 10)


def test_a_clock_without_steps_knows_nothing():
    assert all(math.isnan(value) for value in StepClock().summary().values())


def test_peak_memory_is_what_the_operating_system_says():
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    assert peak_memory_mb()["process"] == pytest.approx(told, rel=0.1)


def saturating(batch: int) -> float:
    """Seconds of a step that costs as much as 24 knees before the first."""
    return (24 + batch) / 1000


def test_the_batch_grows_while_it_pays():
    sizes = [8, 16, 32, 64, 128, 256, 512, 1024]
    rates = [size / saturating(size) for size in sizes]
    chosen = sizes.index(largest_batch(saturating, sizes))
    gains = [after / before for before, after in pairwise(rates)]
    assert all(gain >= 1.03 for gain in gains[:chosen])
    assert gains[chosen] < 1.03
    assert 0 < chosen < len(sizes) - 1


def test_the_batch_is_the_last_that_fits_into_memory():
    asked = []

    def small_gpu(batch: int) -> float:
        asked.append(batch)
        if batch > 64:
            raise torch.OutOfMemoryError("out of memory")
        return 1.0

    assert largest_batch(small_gpu, [16, 32, 64, 128, 256]) == 64
    assert asked == [16, 32, 64, 128]


def test_where_no_batch_fits_the_user_is_told():
    def tiny_gpu(batch: int) -> float:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(KoaError, match="smallest batch"):
        largest_batch(tiny_gpu, [8, 16])


def test_an_error_that_is_not_about_memory_is_not_hidden():
    def broken(batch: int) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        largest_batch(broken, [8, 16])
