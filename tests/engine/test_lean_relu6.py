"""The lean ReLU6 is ReLU6, forward and backward; it only keeps less."""

import pytest
import timm
import torch
from torch import nn

from koa_kit.engine.lean_relu6 import LeanReLU6, keep_less


@pytest.mark.parametrize("result_is_kept", [True, False])
def test_values_and_gradients_are_those_of_relu6(result_is_kept):
    start = torch.tensor([-1.0, -0.0, 0.0, 1e-9, 3.0, 5.999, 6.0, 7.0, float("nan")])
    results = []
    for activation in (nn.ReLU6(), LeanReLU6(result_is_kept)):
        values = start.clone().requires_grad_()
        result = activation(values * 1)
        (result * torch.arange(1.0, 10.0)).nansum().backward()
        results.append((result, values.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(results[0][1][:-1], results[1][1][:-1])


def kept_bytes(tower, images):
    kept, weights = {}, {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}

    def pack(value):
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        result = tower(images)
    result.square().sum().backward()
    return sum(size for storage, size in kept.items() if storage not in weights)


def test_a_lite0_tower_has_the_same_gradients_and_keeps_a_quarter_less():
    torch.manual_seed(0)
    usual = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    lean = keep_less(timm.create_model("tf_efficientnet_lite0", num_classes=0))
    lean.load_state_dict(usual.state_dict())
    images = torch.randn(4, 3, 64, 64)
    before, after = kept_bytes(usual, images), kept_bytes(lean, images)
    assert after < 0.75 * before
    for (name, ours), theirs in zip(lean.named_parameters(), usual.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name
