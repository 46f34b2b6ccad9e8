"""ReLU6 that keeps less for the way back: its result, which the next layer keeps anyway, or one byte a value."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LeanReLU6(nn.Module):
    """ReLU6 in place, with the values and gradients of `torch.nn.ReLU6`, bit for bit.

    torch's own, in place, keeps a copy of its input: a sixth of all that lite0 keeps for the way back. Where
    `result_is_kept` by the next layer for its own gradient, keeping it here too costs nothing; where that layer pads it
    first, one byte a value is kept instead.
    """

    def __init__(self, result_is_kept: bool = True):
        super().__init__()
        self.result_is_kept = result_is_kept

    def forward(self, values: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return values.clamp_(0, 6)
        return _Clamp.apply(values, self.result_is_kept)


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, result_is_kept: bool) -> Tensor:
        inside = None if result_is_kept else (values > 0) & (values < 6)
        values.clamp_(0, 6)
        ctx.mark_dirty(values)
        ctx.result_is_kept = result_is_kept
        ctx.save_for_backward(values if result_is_kept else inside)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (kept,) = ctx.saved_tensors
        return (torch.ops.aten.hardtanh_backward(gradient, kept, 0, 6) if ctx.result_is_kept else gradient * kept), None


def keep_less(tower: nn.Module) -> nn.Module:
    """The same EfficientNet-lite tower of timm, its ReLU6 replaced by `LeanReLU6`."""
    blocks: list = [*tower.modules()]
    for block in blocks:
        if isinstance(getattr(block, "act", None), nn.ReLU6):
            block.act = LeanReLU6()
    for block in blocks:
        # TensorFlow's padding of strided convolutions makes a copy, and that is what the convolution keeps
        if hasattr(block, "conv_dw") and block.conv_dw.stride[0] == 2 and isinstance(block.bn1.act, LeanReLU6):
            block.bn1.act = LeanReLU6(result_is_kept=False)
    return tower
