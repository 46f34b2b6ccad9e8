"""How fast a step is: counted operations, peaks, the clock of an epoch, peak memory, the batch that pays."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.throughput import count_flops, data_sheet_peak, peak_flops


def test_a_linear_layer_costs_two_operations_a_weight_and_row_forward_and_twice_that_backward():
    layer, rows = nn.Linear(6, 4, bias=False), torch.ones(5, 6, requires_grad=True)
    forward = 2 * 5 * 6 * 4
    assert count_flops(layer, rows) == forward
    assert count_flops(lambda: layer(rows).sum().backward()) == 3 * forward


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (2, 1), (8, 1)])
def test_a_convolution_costs_two_operations_a_weight_and_output_pixel_and_twice_that_backward(groups, stride):
    convolution = nn.Conv2d(8, 16, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)
    pixels = torch.ones(2, 8, 6, 6, requires_grad=True)
    forward = 2 * 2 * (6 // stride) ** 2 * 16 * (8 // groups * 3 * 3)
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
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA H200 MIG 1g.18gb", "bfloat16", None),
        ("NVIDIA GH200 480GB", "bfloat16", None),
    ],
)
def test_a_known_gpu_has_the_peak_of_its_data_sheet_and_a_slice_or_an_unknown_one_has_none(name, kind, teraflops):
    assert data_sheet_peak(name, kind) == (teraflops and teraflops * 1e12)


def test_the_peak_of_a_cpu_is_measured_once():
    peak, source = peak_flops("cpu")
    assert source == "measured matmul (cpu, float32)"
    assert 0 < peak < math.inf
    assert peak_flops(torch.device("cpu"), torch.float32) == (peak, source)
