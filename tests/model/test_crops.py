"""What a tower sees of a radiograph: the band around the joint, whatever the exposure."""

import numpy as np
import pytest
import torch

from koa_kit.errors import KoaError
from koa_kit.model import load_checkpoint, make_model, make_towers, save_checkpoint
from koa_kit.model.crops import CROPS, crop_rows, crop_shape
from koa_kit.training import resize_radiographs


@pytest.fixture
def films():
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)


@pytest.fixture
def joint_model():
    return make_model("koa-tiny", image_size=64, crop="joint", exposure="own", seed=2).eval()


def test_the_joint_band_keeps_the_width_and_the_middle_of_the_height():
    rows = crop_rows(224, "joint")
    assert rows.start > 0
    assert rows.stop < 224
    assert rows.start < 112 < rows.stop
    assert crop_shape(64, "joint") == (40, 64)


def test_what_lies_outside_the_band_changes_no_answer(joint_model, films):
    rows = crop_rows(224, "joint")
    altered = films.copy()
    altered[:, : rows.start], altered[:, rows.stop :] = 0, 255
    with torch.inference_mode():
        one, other = (joint_model(torch.from_numpy(knees)) for knees in (films, altered))
    assert torch.equal(one, other)
    altered[:, rows.start] = 255 - altered[:, rows.start]
    with torch.inference_mode():
        assert not torch.equal(one, joint_model(torch.from_numpy(altered)))


def test_a_cohort_is_cropped_as_a_single_film_is(joint_model, films):
    small = resize_radiographs(films, 64, crop="joint")
    assert small.shape == (3, 40, 64)
    with torch.inference_mode():
        # apart from rounding the small images to whole grey levels
        torch.testing.assert_close(joint_model(small), joint_model(torch.from_numpy(films)), atol=0.05, rtol=0)


def test_own_exposure_does_not_see_how_bright_a_film_is():
    model = make_model("koa-tiny", image_size=32, exposure="own", seed=2).eval()
    knees = torch.rand(2, 32, 32) * 100
    with torch.inference_mode():
        torch.testing.assert_close(model(knees + 120), model(knees), atol=1e-3, rtol=0)


def test_crop_and_exposure_are_part_of_the_checkpoint(joint_model, films, tmp_path):
    save_checkpoint(joint_model, tmp_path)
    again = load_checkpoint(tmp_path)
    assert again.towers.image_shape == (40, 64)
    with torch.inference_mode():
        assert torch.equal(again(torch.from_numpy(films)), joint_model(torch.from_numpy(films)))


@pytest.mark.parametrize("choice", [{"crop": "patella"}, {"exposure": "auto"}])
def test_unknown_choices_are_refused(choice):
    with pytest.raises(KoaError, match="There is no"):
        make_towers("koa-tiny", **choice)


def test_a_transformer_takes_the_whole_film():
    assert set(CROPS) == {"whole", "joint"}
    with pytest.raises(KoaError, match="square"):
        make_towers("ViT-B-32:random", image_size=32, crop="joint")
