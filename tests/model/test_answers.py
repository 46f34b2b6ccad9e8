"""How five similarities are read: step by step, or without any words."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from koa_kit.errors import KoaError
from koa_kit.losses import continuation_logits, grade_loss
from koa_kit.model import build_model, load_checkpoint, save_checkpoint
from koa_kit.model.grader import check_finite

SIMILARITIES = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))


def corn_by_numpy(s, y):
    """CORN's sum over steps a knee takes part in: knee i is asked at step k only if its grade is at least k."""
    up = 1 / (1 + np.exp(-np.diff(s, axis=1)))
    total = 0.0
    for knee, grade in enumerate(y):
        for k in range(4):
            if grade >= k:
                total -= np.log(up[knee, k] if grade > k else 1 - up[knee, k])
    return total / len(y)


def test_cross_entropy_of_steps_is_what_corn_minimises():
    rng = np.random.default_rng(0)
    s, y = 2 * rng.standard_normal((8, 5)), rng.integers(0, 5, 8)
    ours = grade_loss(continuation_logits(torch.from_numpy(s)), torch.from_numpy(y), loss="corn")
    assert ours.item() == pytest.approx(corn_by_numpy(s, y), rel=1e-10)


@given(s=SIMILARITIES)
def test_steps_make_probabilities_and_exceeding_a_grade_gets_rarer_with_the_grade(s):
    logits = continuation_logits(torch.from_numpy(s))
    assert torch.allclose(logits.exp().sum(1), torch.ones(3, dtype=torch.float64))
    exceeding = 1 - logits.exp().cumsum(1)
    assert (exceeding.diff(dim=1) <= 1e-12).all()


def test_a_knee_nearer_to_each_next_description_climbs_to_the_top():
    rising = torch.arange(5.0)[None] * 3
    assert continuation_logits(rising).argmax(1).item() == 4
    assert continuation_logits(-rising).argmax(1).item() == 0


@pytest.mark.parametrize("choice", [{"head": "linear"}, {"output": "corn"}])
def test_a_saved_model_of_another_answer_gives_the_same_logits(tmp_path, choice):
    model = build_model(towers="koa-tiny", image_size=32, seed=3, **choice).eval()
    knees = torch.randint(0, 256, (4, 32, 32), dtype=torch.uint8)
    save_checkpoint(model, tmp_path)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path)(knees), model(knees))


def test_a_linear_head_learns_nothing_from_words():
    one, other = (build_model(prompts=words, image_size=32, seed=3, head="linear").eval() for words in ("paper", [
        "none", "doubtful", "minimal", "moderate", "severe"]))  # fmt: skip
    knees = torch.randint(0, 256, (4, 32, 32), dtype=torch.uint8)
    assert torch.equal(one(knees), other(knees))
    one.lock([])
    one(knees).square().sum().backward()
    trained = {name.split(".")[0] for name, p in one.named_parameters() if p.requires_grad}
    assert trained == {"image_tower", "grade_layer"}
    assert all(p.grad is not None for p in one.parameters() if p.requires_grad)


@pytest.mark.parametrize("choice", [{"head": "lineal"}, {"output": "probit"}])
def test_an_unknown_answer_is_refused(choice):
    with pytest.raises(KoaError, match="There is no"):
        build_model(towers="koa-tiny", image_size=32, **choice)


def test_logits_that_are_not_numbers_are_refused_with_their_count():
    logits = np.zeros((3, 5))
    logits[1, 2] = float("nan")
    with pytest.raises(KoaError, match=r"1 of 3 knees(.|\n)*where: here"):
        check_finite(logits, "here")
