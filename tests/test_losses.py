"""Each loss beside a few lines of numpy, its gradient in float64, and what must hold for any knees at all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from koa_kit.errors import KoaError
from koa_kit.losses import (
    CONSISTENCY_FORMS,
    LOSSES,
    clip_koa_loss,
    consistency_loss,
    distance_weighted_cross_entropy,
    grade_loss,
    prompt_cross_entropy,
    soft_label_cross_entropy,
    symmetry_loss,
)

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
GRADES = arrays(np.int64, (4,), elements=st.integers(0, 4))
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES)
EVERY_FORM = pytest.mark.parametrize("form", CONSISTENCY_FORMS)


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_cross_entropy(s, y, weights=None, smoothing=0.0):
    log_p = s - s.max(-1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    weights = np.ones(s.shape[1]) if weights is None else weights
    own = -(weights[y] * log_p[np.arange(len(y)), y]).sum()
    spread = -(weights * log_p).sum() / s.shape[1]
    return ((1 - smoothing) * own + smoothing * spread) / weights[y].sum()


def numpy_consistency(a, b, form):
    p, q = softmax(a), softmax(b)
    m = (p + q) / 2
    return {
        "mse_logits": lambda: ((a - b) ** 2).mean(),
        "mse_probabilities": lambda: ((p - q) ** 2).mean(),
        "l1": lambda: np.abs(p - q).mean(),
        "symmetric_kl": lambda: ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)).mean() / 2,
        "jensen_shannon": lambda: ((p * np.log(p / m)).sum(-1) + (q * np.log(q / m)).sum(-1)).mean() / 2,
    }[form]()


def tensors(*values):
    return tuple(torch.from_numpy(value) for value in values)


def some_knees(seed=0, count=6):
    rng = np.random.default_rng(seed)
    return 3 * rng.standard_normal((count, 5)), 3 * rng.standard_normal((count, 5)), rng.integers(0, 5, count)


def test_prompt_cross_entropy_equals_numpy():
    s, _, y = some_knees()
    assert prompt_cross_entropy(*tensors(s, y)).item() == pytest.approx(numpy_cross_entropy(s, y), rel=1e-12)


def test_grade_weights_and_smoothing_equal_numpy():
    s, _, y = some_knees(1)
    weights = np.array([1.0, 3.0, 1.0, 2.0, 0.5])
    ours = prompt_cross_entropy(*tensors(s, y), grade_weights=torch.from_numpy(weights), label_smoothing=0.1)
    assert ours.item() == pytest.approx(numpy_cross_entropy(s, y, weights, 0.1), rel=1e-12)


def test_symmetry_loss_is_the_sum_over_both_views():
    s, h, y = some_knees(2)
    expected = numpy_cross_entropy(s, y) + numpy_cross_entropy(h, y)
    assert symmetry_loss(*tensors(s, h, y)).item() == pytest.approx(expected, rel=1e-12)


@EVERY_FORM
def test_consistency_loss_equals_numpy(form):
    s, h, _ = some_knees(3)
    assert consistency_loss(*tensors(s, h), form).item() == pytest.approx(numpy_consistency(s, h, form), rel=1e-10)


@EVERY_FORM
def test_gradients_are_right_in_double_precision(form):
    s, h, y = tensors(*some_knees(4, count=3))
    views = (s.requires_grad_(), h.requires_grad_())
    # L1 has a corner where two probabilities are equal; random logits stay clear of it
    assert torch.autograd.gradcheck(lambda a, b: clip_koa_loss(a, b, y, form=form, label_smoothing=0.1).total, views)


@EVERY_FORM
@given(s=LOGITS)
def test_consistency_is_zero_when_both_views_agree(form, s):
    (s,) = tensors(s)
    assert consistency_loss(s, s.clone(), form).item() == pytest.approx(0, abs=1e-12)


@EVERY_FORM
@given(s=LOGITS, h=LOGITS)
@settings(max_examples=50)
def test_consistency_does_not_care_which_view_is_the_mirror_image(form, s, h):
    s, h = tensors(s, h)
    there, back = consistency_loss(s, h, form).item(), consistency_loss(h, s, form).item()
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)
    assert there >= -1e-12


@given(s=LOGITS, h=LOGITS, y=GRADES)
@settings(max_examples=50)
def test_symmetry_loss_does_not_care_which_view_is_the_mirror_image(s, h, y):
    s, h, y = tensors(s, h, y)
    assert symmetry_loss(s, h, y).item() == pytest.approx(symmetry_loss(h, s, y).item(), rel=1e-12)


@given(s=LOGITS, h=LOGITS, y=GRADES)
@settings(max_examples=50)
def test_without_weights_clip_koa_is_plain_cross_entropy(s, h, y):
    s, h, y = tensors(s, h, y)
    plain = prompt_cross_entropy(s, y).item()
    assert clip_koa_loss(s, h, y, symmetry=0, consistency=0).total.item() == plain
    assert clip_koa_loss(s, None, y, symmetry=0, consistency=0).total.item() == plain


@given(s=LOGITS, h=LOGITS)
@settings(max_examples=50)
def test_jensen_shannon_never_exceeds_log_two(s, h):
    assert consistency_loss(*tensors(s, h), "jensen_shannon").item() <= np.log(2) + 1e-9


@EVERY_FORM
def test_certain_and_opposite_views_give_a_finite_loss_and_gradient(form):
    s = torch.tensor([[200.0, 0, 0, 0, 0]], requires_grad=True)
    h = torch.tensor([[0.0, 0, 0, 0, 200]])
    loss = consistency_loss(s, h, form)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()
    assert loss.item() > 0


def test_the_parts_add_up_with_their_weights():
    s, h, y = tensors(*some_knees(5))
    parts = clip_koa_loss(s, h, y, symmetry=0.5, consistency=2.0, form="l1")
    expected = parts.prompt + 0.5 * parts.symmetry + 2.0 * parts.consistency
    assert parts.total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_unknown_form_and_missing_flip_and_negative_weight_are_refused():
    s, h, y = tensors(*some_knees(6))
    with pytest.raises(KoaError, match="jensen_shannon"):
        consistency_loss(s, h, "mse")
    with pytest.raises(KoaError, match="flipped"):
        clip_koa_loss(s, None, y)
    with pytest.raises(KoaError, match="negative"):
        clip_koa_loss(s, h, y, consistency=-1)


def numpy_distance_weighted(s, y, power, weights):
    p, total = softmax(s), 0.0
    for knee, grade in enumerate(y):
        total += weights[grade] * sum(-(abs(k - grade) ** power) * np.log(1 - p[knee, k]) for k in range(5))
    return total / weights[y].sum()


def numpy_soft_labels(s, y, width, weights):
    total = 0.0
    for knee, grade in enumerate(y):
        target = softmax(-((np.arange(5) - grade) ** 2) / (2 * width**2))
        total += weights[grade] * -(target * np.log(softmax(s)[knee])).sum()
    return total / weights[y].sum()


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_distance_weighted_cross_entropy_equals_numpy(power):
    s, _, y = some_knees(7)
    weights = np.array([1.0, 3.0, 1.0, 2.0, 0.5])
    ours = distance_weighted_cross_entropy(*tensors(s, y), power=power, grade_weights=torch.from_numpy(weights))
    assert ours.item() == pytest.approx(numpy_distance_weighted(s, y, power, weights), rel=1e-10)


@pytest.mark.parametrize("width", [0.4, 0.6, 1.0])
def test_soft_label_cross_entropy_equals_numpy(width):
    s, _, y = some_knees(8)
    weights = np.array([1.0, 3.0, 1.0, 2.0, 0.5])
    ours = soft_label_cross_entropy(*tensors(s, y), width=width, grade_weights=torch.from_numpy(weights))
    assert ours.item() == pytest.approx(numpy_soft_labels(s, y, width, weights), rel=1e-10)


def test_soft_labels_of_no_width_are_plain_labels():
    s, _, y = some_knees(9)
    narrow = soft_label_cross_entropy(*tensors(s, y), width=0.05).item()
    assert narrow == pytest.approx(numpy_cross_entropy(s, y), rel=1e-12)


def test_a_mistake_by_two_grades_costs_more_than_by_one_only_with_distance():
    kl = torch.tensor([1])
    near, far = 4 * torch.eye(5)[2][None], 4 * torch.eye(5)[3][None]
    assert distance_weighted_cross_entropy(far, kl) > 1.5 * distance_weighted_cross_entropy(near, kl)
    assert soft_label_cross_entropy(far, kl) > soft_label_cross_entropy(near, kl)
    assert prompt_cross_entropy(far, kl).item() == prompt_cross_entropy(near, kl).item()


@EVERY_LOSS
def test_every_loss_has_the_right_gradient_and_falls_towards_the_true_grade(loss):
    s, _, y = some_knees(10, count=3)
    s, y = tensors(s, y)
    assert torch.autograd.gradcheck(lambda logits: grade_loss(logits, y, loss=loss), (s.requires_grad_(),))
    # not more: soft labels rightly punish a model that is surer than its readers
    right = 2 * torch.nn.functional.one_hot(y, 5).double()
    assert grade_loss(right, y, loss=loss) < grade_loss(torch.zeros_like(right), y, loss=loss)


@EVERY_LOSS
def test_a_view_that_is_certain_and_wrong_gives_a_finite_loss_and_gradient(loss):
    s = torch.tensor([[200.0, 0, 0, 0, 0]], requires_grad=True)
    value = grade_loss(s, torch.tensor([4]), loss=loss)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad).all()


def test_clip_koa_takes_another_loss_for_both_views_and_refuses_an_unknown_one():
    s, h, y = tensors(*some_knees(11))
    parts = clip_koa_loss(s, h, y, loss="cdw_ce", distance_power=3.0)
    assert parts.symmetry.item() == distance_weighted_cross_entropy(h, y, power=3.0).item()
    assert symmetry_loss(s, h, y, loss="soft_labels").item() == pytest.approx(
        (soft_label_cross_entropy(s, y) + soft_label_cross_entropy(h, y)).item()
    )
    with pytest.raises(KoaError, match="cdw_ce"):
        clip_koa_loss(s, h, y, loss="mse")
