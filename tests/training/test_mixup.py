"""A step with mixing shows sums of knees and asks for both grades by their shares."""

import numpy as np
import pytest
import torch

from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.training import TrainConfig, fit
from koa_kit.training.batches import Batch, EpochSampler
from koa_kit.training.step import TrainingStep
from koa_kit.training.views import ImageViews


def numpy_cross_entropy(logits: np.ndarray, kl: np.ndarray) -> float:
    """Mean of the negative logarithm of the grade's share among the exponentials."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return float(-np.log(exponentials[np.arange(len(kl)), kl] / exponentials.sum(1)).mean())


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_loss_of_a_step_is_that_of_the_mixed_pictures_for_both_grades(knees, share):
    config = TrainConfig(image_size=32, augment=0, mixup=1.0, batch_size=8)
    model = build_model(towers="koa-tiny", image_size=32, seed=1).train()
    views = ImageViews(model, knees.split("train"))
    kl = knees.split("train").table["kl"].to_numpy(copy=True)
    step = TrainingStep(model, views, torch.from_numpy(kl), config, steps=4)
    own = Batch(torch.arange(8), None, None)
    other = own.shifted()
    with torch.no_grad():
        pictures = (1 - share) * views.images[own.rows].float() + share * views.images[other.rows].float()
        logits = model(pictures).numpy()
    expected = sum(
        weight * numpy_cross_entropy(logits, kl[rows]) for weight, rows in ((1 - share, own.rows), (share, other.rows))
    )
    assert step(own._replace(over=other, share=share))[0].item() == pytest.approx(expected, rel=1e-4)


def test_a_run_with_mixing_repeats_itself_and_differs_from_one_without(knees, tmp_path):
    config = TrainConfig(image_size=32, epochs=2, batch_size=32, method="symmetry_consistency", mixup=0.6)
    scores = [
        fit(knees, choices, tmp_path / str(number)).predictions["s0"].to_numpy()
        for number, choices in enumerate([config, config, config.with_changes(mixup=0.0)])
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_each_epoch_mixes_anew():
    order = EpochSampler(40, TrainConfig(batch_size=4, mixup=0.5), torch.Generator().manual_seed(0))
    first, second = ([batch.share for batch in order.epoch()] for _ in range(2))
    assert first != second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("mixup", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(mixup):
    with pytest.raises(KoaError, match="mixup: must be at"):
        TrainConfig(mixup=mixup)
