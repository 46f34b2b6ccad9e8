"""An answer that does not depend on how a knee lies is steady, one that does is not."""

import pytest
import torch

from koa_kit.model import build_model
from koa_kit.training.augmentation import augment, draw_changes
from koa_kit.training.stability import augmentation_stability
from koa_kit.training.views import ImageViews


@pytest.fixture
def model():
    return build_model(towers="koa-tiny", image_size=32, seed=1)


def test_a_model_that_always_says_the_same_is_steady(model, knees):
    with torch.no_grad():
        model.logit_scale.fill_(-20)
    told = augmentation_stability(model, knees.split("val"))
    assert told["augmentation_variance"] == pytest.approx(0, abs=1e-9)


def test_variance_and_disagreement_are_those_of_the_augmented_views(model, knees):
    val = knees.split("val")
    told = augmentation_stability(model, val, views=3, seed=5, batch=len(val))
    generator = torch.Generator().manual_seed(5)
    rows = torch.arange(len(val))
    images = ImageViews(model, val, canonical_side=False).inputs(rows)
    model.eval()
    with torch.no_grad():
        p = torch.stack([model(augment(images, draw_changes(len(val), generator))).softmax(-1) for _ in range(3)])
    expected = (p * torch.arange(5.0)).sum(-1)
    assert told["augmentation_variance"] == pytest.approx(expected.var(0).mean().item(), rel=1e-4)
    assert told["augmentation_variance"] > 0
    grades = p.argmax(-1)
    assert told["augmentation_disagreement"] == pytest.approx((grades != grades[0]).any(0).float().mean().item())


def test_measuring_leaves_the_model_as_it_was(model, knees):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    augmentation_stability(model, knees.split("val"))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
