"""Augmentation moves and re-exposes a knee a little; it never mirrors it."""

import pytest
import torch

from koa_kit.training import augment


@pytest.fixture
def knee():
    image = torch.full((1, 64, 64), 40, dtype=torch.uint8)
    image[:, 16:48, 8:24] = 200
    return image


def test_strength_zero_gives_the_images_back(knee):
    assert torch.equal(augment(knee, strength=0), knee.float())


def test_one_seed_gives_one_augmentation(knee):
    one, same, other = (augment(knee, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_knee_stays_in_range_and_on_its_side(knee):
    moved = augment(knee.expand(200, -1, -1), generator=torch.Generator().manual_seed(0))
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert (moved[:, :, :32].mean((1, 2)) > moved[:, :, 32:].mean((1, 2)) + 20).all()


def test_a_shift_moves_a_knee_by_at_most_a_twentieth(knee):
    moved = augment(knee.expand(200, -1, -1), generator=torch.Generator().manual_seed(0))
    bright = (moved > moved.mean((1, 2), keepdim=True)).float()
    columns = torch.arange(64.0)
    centre = (bright.sum(1) * columns).sum(1) / bright.sum((1, 2))
    # 64 px: 3.2 px of shift, and what rotation and zoom about the middle add for a block 16 px beside it
    assert (centre - 15.5).abs().max() < 3.2 + 1.5 + 0.5
