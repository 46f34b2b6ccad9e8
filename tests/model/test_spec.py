"""What a model is, and what its tower sees of a radiograph: the band around the joint, whatever the exposure."""

import json

import numpy as np
import pytest
import torch

from koa_kit.errors import KoaError
from koa_kit.model import build_model, load_checkpoint, save_checkpoint
from koa_kit.model.spec import CROPS, ModelSpec, crop_rows, crop_shape


@pytest.fixture
def films():
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)


@pytest.fixture
def joint_model():
    return build_model(towers="koa-tiny", image_size=64, crop="joint", normalize="per_image", seed=2).eval()


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
    one, other = (joint_model.predict(knees, "RLR")[1] for knees in (films, altered))
    np.testing.assert_array_equal(one, other)
    altered[:, rows.start] = 255 - altered[:, rows.start]
    assert not np.array_equal(one, joint_model.predict(altered, "RLR")[1])


def test_images_of_the_towers_own_shape_are_taken_as_they_are(joint_model, films):
    small = joint_model.resampled(films)
    assert small.shape == (3, 40, 64)
    assert torch.equal(joint_model.resampled(small.numpy()), small)
    np.testing.assert_array_equal(*(joint_model.predict(knees, "RLR")[1] for knees in (films, small.numpy())))


def test_radiographs_are_resized_with_antialiasing():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (1, 64, 32))
    small = build_model(image_size=16).resampled(stripes)
    assert small.shape == (1, 16, 16)
    assert small.float().std() < 10, "one-pixel stripes must become grey, not alias"


def test_own_exposure_does_not_see_how_bright_a_film_is():
    model = build_model(towers="koa-tiny", image_size=32, normalize="per_image", seed=2).eval()
    knees = torch.rand(2, 32, 32) * 100
    with torch.inference_mode():
        torch.testing.assert_close(model(knees + 120), model(knees), atol=1e-3, rtol=0)


def test_crop_and_exposure_are_part_of_the_checkpoint(joint_model, films, tmp_path):
    save_checkpoint(joint_model, tmp_path)
    again = load_checkpoint(tmp_path)
    assert again.spec.image_shape == (40, 64)
    np.testing.assert_array_equal(again.predict(films, "RLR")[1], joint_model.predict(films, "RLR")[1])


@pytest.mark.parametrize("choice", [{"crop": "patella"}, {"normalize": "auto"}, {"locked": ("images",)}, {"rule": "x"}])
def test_unknown_choices_are_refused(choice):
    with pytest.raises(KoaError, match="There is no"):
        build_model(**choice)


def test_a_transformer_takes_the_whole_film():
    assert set(CROPS) == {"whole", "joint"}
    with pytest.raises(KoaError, match="square"):
        build_model(towers="ViT-B-32:random", image_size=32, crop="joint")


def test_what_a_model_is_comes_back_whole_from_its_record():
    spec = ModelSpec(
        prompts=["none", "doubtful", ["minimal", "slight"], "moderate", "severe"],
        crop="joint",
        normalize="per_image",
        output="corn",
        canonical_side=True,
        flip_pooling=True,
        rule="median_grade",
        locked=frozenset({"image", "text"}),
        feature_dropout=0.3,
        seed=7,
    )
    assert ModelSpec.read(json.loads(json.dumps(spec.record()))) == spec


def test_a_record_of_the_first_format_says_the_same():
    record = {"towers": "koa-tiny", "image_size": 64, "embed_dim": 64, "flip_pooling": True, "locked": ["text"]}
    record |= {"exposure": "own", "link": "continuation", "method": "canonical_side", "seed": 3}
    record["prompts"] = ModelSpec().prompts.to_dict()
    spec = ModelSpec.read_format_1(record)
    assert (spec.normalize, spec.output, spec.canonical_side, spec.seed) == ("per_image", "corn", True, 3)
    assert (spec.crop, spec.head, spec.rule) == ("whole", "prompts", "most_likely")
