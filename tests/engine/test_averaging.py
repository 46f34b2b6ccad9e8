"""Weights next to the trained ones: averages as defined, mixtures exact at their ends."""

import numpy as np
import pytest
import torch

from koa_kit.engine.averaging import mix_in, moving_average
from koa_kit.model import build_model

HEAD = "image_tower.trunk.head.weight"


@pytest.fixture
def model():
    return build_model(image_size=32)


def wander(model, seed: int) -> None:
    """Change every weight, and every statistic of a batch norm."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator))


def test_the_average_follows_its_definition(model):
    average = moving_average(model, 0.3)
    expected = model.state_dict()[HEAD].numpy().astype(np.float64)
    for step in range(6):
        wander(model, step)
        average.update_parameters(model)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.state_dict()[HEAD].numpy()
    averaged = average.module.state_dict()[HEAD]
    np.testing.assert_allclose(averaged.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(averaged, model.state_dict()[HEAD])


def test_the_statistics_of_batch_norms_are_averaged_and_constants_stay(model):
    average = moving_average(model, 0.999)
    name = "image_tower.trunk.stem.1.running_mean"
    model.state_dict()[name].fill_(1.0)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.state_dict()[name], torch.full((16,), 0.9))
    for own, averaged in zip(model.buffers(), average.module.buffers(), strict=True):
        # the attention mask holds infinities, whose mean is none; tokens are no numbers at all
        assert not averaged.is_floating_point() or not averaged.isnan().any()
        assert averaged.is_floating_point() or torch.equal(own, averaged)


def test_a_mixture_is_a_quarter_of_the_way_from_start_to_tuned_and_exact_at_its_ends():
    tuned = torch.nn.Linear(1000, 1, bias=False)
    # far apart in size, where 1·a + 0·b or a + (b - a) would round
    start = {"weight": torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)) * 1e8}
    before = tuned.weight.detach().clone()
    mix_in(tuned, start, 1.0)
    assert torch.equal(tuned.weight, before)
    mix_in(tuned, start, 0.25)
    torch.testing.assert_close(tuned.weight.detach(), 0.25 * before + 0.75 * start["weight"])
    mix_in(tuned, start, 0.0)
    assert torch.equal(tuned.weight, start["weight"])
