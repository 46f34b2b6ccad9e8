"""ClipKoa: similarities of knees and prompts, mirror images, locked towers, checkpoints."""

import json
import math

import pytest
import torch

from koa_kit.errors import KoaError
from koa_kit.model import build_model, load_checkpoint, round_to_half, save_checkpoint


@pytest.fixture
def knees():
    return torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def both_views(model, images):
    """Logits of images and of their mirror images."""
    return model.logits(*model.image_features(torch.cat([images, images.flip(-1)])).chunk(2))


@pytest.fixture(scope="module")
def lite0():
    return build_model(towers="lite0-minilm", image_size=64, locked=("image", "text")).eval()


def test_logits_are_scaled_cosines(knees):
    model = build_model(image_size=64).eval()
    with torch.no_grad():
        logits = model(knees)
        images, prompts = model.image_embeddings(model.image_features(knees)), model.prompt_embeddings()
    assert logits.shape == (3, 5)
    cosines = torch.stack([torch.cosine_similarity(image[None], prompts) for image in images])
    torch.testing.assert_close(logits, cosines / 0.07, rtol=1e-4, atol=1e-4)


def test_flipping_an_image_swaps_the_two_views(knees):
    model = build_model(image_size=64).eval()
    with torch.no_grad():
        there, back = both_views(model, knees), both_views(model, knees.flip(-1))
    torch.testing.assert_close(there[0], back[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there[1], back[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(there[0], there[1], atol=1e-3), "a mirror image that changes nothing tests nothing"


def test_flip_pooling_gives_a_knee_and_its_mirror_image_the_same_answer(knees):
    model = build_model(image_size=64, flip_pooling=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(knees), model(knees.flip(-1)), rtol=1e-4, atol=1e-4)


def test_prompts_are_encoded_once_in_all_when_the_text_tower_is_locked(lite0, knees):
    calls = []
    handle = lite0.text_tower.register_forward_hook(lambda *_: calls.append(1))
    lite0.lock(lite0.locked)
    with torch.no_grad():
        lite0(knees), both_views(lite0, knees)
    handle.remove()
    assert len(calls) == 1


def test_prompts_are_encoded_once_a_step_when_the_text_tower_is_trained(knees):
    model, calls = build_model(image_size=64, locked=()), []
    model.text_tower.register_forward_hook(lambda *_: calls.append(1))
    both_views(model, knees)
    assert len(calls) == 1


def test_a_locked_tower_stays_as_it_is(lite0, knees):
    lite0.train()
    before = {name: value.clone() for name, value in lite0.image_tower.state_dict().items()}
    loss = both_views(lite0, knees)[0].square().sum()
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in lite0.image_tower.state_dict().items())
    assert all(
        parameter.grad is None for parameter in (*lite0.component("image").values(), *lite0.component("text").values())
    )
    assert lite0.image_projection.weight.grad is not None
    lite0.eval()


def test_an_ensemble_of_one_sentence_repeated_is_that_sentence():
    words = ["none", "doubtful", "minimal", "moderate", "severe"]
    single, repeated = build_model(prompts=words), build_model(prompts=[[word, word] for word in words])
    with torch.no_grad():
        torch.testing.assert_close(single.eval().prompt_embeddings(), repeated.eval().prompt_embeddings())


def test_the_temperature_never_falls_below_that_of_clip():
    model = build_model(image_size=64)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(1e6))
    assert model.scale.item() == pytest.approx(100)


def test_colour_images_are_refused():
    with pytest.raises(KoaError, match=r"\(N, H, W\)"):
        build_model(image_size=64)(torch.zeros(2, 3, 64, 64))


@pytest.mark.parametrize("towers", ["koa-tiny", "lite0-minilm", "lite2-minilm", "ViT-B-32-quickgelu:random"])
def test_a_checkpoint_reloads_to_identical_logits(towers, knees, tmp_path):
    model = build_model(towers=towers, prompts="attributes", image_size=64, seed=1)
    with torch.no_grad():
        for parameter in model.component("projections").values():
            parameter.add_(0.01)
        model.feature_mean.add_(0.5)
    model.eval()
    save_checkpoint(model, tmp_path)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path)(knees), model(knees))


def test_a_halved_checkpoint_holds_every_matrix_rounded_and_everything_else_as_it_was(knees, tmp_path):
    model = build_model(image_size=64, seed=1).eval()
    for name, half in (("whole", False), ("half", True)):
        save_checkpoint(model, tmp_path / name, half=half)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    state = load_checkpoint(tmp_path / "half").state_dict()
    for name, value in model.state_dict().items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value.half().float() if value.ndim > 1 else value), name
    loaded = load_checkpoint(tmp_path / "half")
    with torch.no_grad():
        assert not torch.equal(loaded(knees), model(knees))
        round_to_half(model)
        assert torch.equal(loaded(knees), model(knees))


def test_published_weights_that_are_locked_are_not_stored_again(lite0, tmp_path):
    save_checkpoint(lite0, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 3_000_000
    record = json.loads((tmp_path / "model.json").read_text())
    assert record["not_stored"] == ["image_tower.", "text_tower."]
    assert set(record["weights"]) == {"image", "text"}


@pytest.mark.parametrize(
    ("expected", "message"),
    [({"towers": "lite0-minilm"}, "other towers"), ({"prompts": "attributes"}, "other prompts")],
)
def test_a_checkpoint_for_other_prompts_or_towers_is_refused(expected, message, tmp_path):
    save_checkpoint(build_model(image_size=64), tmp_path)
    with pytest.raises(KoaError, match=message):
        load_checkpoint(tmp_path, **expected)


def test_a_checkpoint_on_other_pretrained_weights_is_refused(lite0, tmp_path):
    save_checkpoint(lite0, tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    record["weights"]["image"] = 64 * "0"
    (tmp_path / "model.json").write_text(json.dumps(record))
    with pytest.raises(KoaError, match="pretrained image weights"):
        load_checkpoint(tmp_path)


def test_a_damaged_or_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(KoaError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    save_checkpoint(build_model(image_size=64), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(KoaError, match="cannot be read"):
        load_checkpoint(tmp_path)
