"""Weights beside the trained ones: averages as defined, mixtures exact at their ends, and nothing left behind."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from koa_kit.error_analysis.metrics import metrics
from koa_kit.errors import KoaError
from koa_kit.model import make_model
from koa_kit.model.blocks import train_last_blocks
from koa_kit.training import TrainConfig, fit
from koa_kit.training.averaging import (
    WeightAverage,
    interpolated,
    start_weights,
    swapped,
    trained_state,
    wise_ft_curve,
)

CONFIG = TrainConfig(image_size=32, epochs=3, batch_size=16, learning_rate=3e-3, augment=0)


@pytest.fixture
def model():
    return make_model("koa-tiny", image_size=32)


@pytest.fixture(scope="module")
def run(knees, tmp_path_factory):
    return fit(knees, CONFIG, tmp_path_factory.mktemp("run"), device="cpu")


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other) -> bool:
    return set(one) == set(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def wander(model, seed: int) -> None:
    """Change everything that training changes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in trained_state(model).values():
            value.add_(torch.randn(value.shape, generator=generator))


def test_training_changes_the_image_tower_its_statistics_and_the_projections(model):
    names = set(trained_state(model))
    assert {"image_tower.trunk.stem.0.weight", "image_tower.trunk.stem.1.running_var", "logit_scale"} <= names
    assert not any(name.startswith("text_tower.") for name in names), "it is locked"
    assert "image_tower.trunk.stem.1.num_batches_tracked" not in names
    assert "feature_mean" not in names


def test_frozen_blocks_are_not_part_of_what_training_changes(model):
    train_last_blocks(model, 1)
    inside = {".".join(n.split(".")[2:4]) for n in trained_state(model) if n.startswith("image_tower.")}
    assert inside == {"blocks.2", "head.weight", "head.bias"}


def test_what_training_changes_is_exactly_what_one_step_changes(model, knees):
    train_last_blocks(model, 2)
    before = state_of(model)
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model(torch.from_numpy(knees.images[:8].copy())).log_softmax(1)[:, 0].sum().backward()
    optimiser.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in changed if not name.endswith("num_batches_tracked")} == set(trained_state(model))


def test_the_average_follows_its_definition(model):
    average = WeightAverage(model, 0.3)
    name = "image_tower.trunk.head.weight"
    expected = trained_state(model)[name].numpy().astype(np.float64)
    for step in range(6):
        wander(model, step)
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trained_state(model)[name].numpy()
    np.testing.assert_allclose(average.weights[name].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(average.weights[name], trained_state(model)[name])


def test_the_statistics_of_batch_norms_are_averaged_too(model):
    average = WeightAverage(model, 0.999)
    name = "image_tower.trunk.stem.1.running_mean"
    model.state_dict()[name].fill_(1.0)
    average.update()
    torch.testing.assert_close(average.weights[name], torch.full_like(average.weights[name], 0.9))


def test_a_text_tower_with_its_attention_mask_can_be_averaged():
    model = make_model("koa-tiny", image_size=32, locked=())
    average = WeightAverage(model, 0.9)
    average.update()
    assert {name for name in average.weights if name.startswith("text_tower.")}
    assert all(value.isfinite().all() for value in average.weights.values())


def test_an_average_goes_on_from_a_file_as_if_it_had_not_stopped(model):
    straight = WeightAverage(model, 0.5)
    for step in range(3):
        wander(model, step)
        straight.update()
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    wander(model, 9)
    resumed = WeightAverage(model, 0.5)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert same(resumed.weights, straight.weights)
    for average in (straight, resumed):
        average.update()
    assert same(resumed.weights, straight.weights)


def test_an_average_of_other_weights_is_refused(model):
    other = WeightAverage(make_model("koa-tiny", image_size=32, locked=("image", "text")), 0.5)
    with pytest.raises(KoaError, match="other weights: image_tower"):
        WeightAverage(model, 0.5).load_state_dict(other.state_dict())


def test_a_mixture_is_a_quarter_of_the_way_from_start_to_tuned():
    start, tuned = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 0.0])}
    assert interpolated(start, tuned, 0.25)["w"].tolist() == [2.0, 3.0]


def test_a_mixture_is_exact_at_its_ends_and_shares_no_memory():
    generator = torch.Generator().manual_seed(0)
    # far apart in size, where 1·a + 0·b or a + (b - a) would round
    start = {"w": torch.randn(1000, generator=generator) * 1e8}
    tuned = {"w": torch.randn(1000, generator=generator)}
    kept = {"start": start["w"].clone(), "tuned": tuned["w"].clone()}
    for share, name in ((0, "start"), (1, "tuned")):
        mixed = interpolated(start, tuned, share)
        assert torch.equal(mixed["w"], kept[name])
        mixed["w"].zero_()
    assert torch.equal(start["w"], kept["start"])
    assert torch.equal(tuned["w"], kept["tuned"])


def test_what_training_did_not_change_no_mixture_changes():
    weights = {"w": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    assert torch.equal(interpolated(weights, weights, 0.3)["w"], weights["w"])


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(KoaError, match=r"\[0, 1\]"):
        interpolated({"w": torch.zeros(1)}, {"w": torch.ones(1)}, share)


@pytest.mark.parametrize("other", [{"v": torch.zeros(1)}, {"w": torch.zeros(2)}, {}])
def test_weights_of_other_names_or_shapes_are_not_mixed(other):
    with pytest.raises(KoaError, match="before and after"):
        interpolated({"w": torch.zeros(1)}, other, 0.5)


def test_a_model_has_its_own_weights_again_after_the_block(model):
    before = state_of(model)
    others = {name: value + 1 for name, value in trained_state(model).items()}
    with swapped(model, others):
        assert same(trained_state(model), others)
    assert same(model.state_dict(), before)


def test_a_model_has_its_own_weights_again_after_an_exception(model):
    before = state_of(model)
    with pytest.raises(ZeroDivisionError), swapped(model, {"logit_scale": torch.tensor(0.0)}):
        _ = 1 / (model.scale.item() - 1)
    assert same(model.state_dict(), before)


def test_a_model_can_be_trained_on_after_a_swap(model):
    optimiser = torch.optim.SGD([model.logit_scale], lr=0.1)
    before = model.logit_scale.item()
    with swapped(model, {"logit_scale": torch.tensor(0.0)}):
        pass
    model.scale.backward()
    optimiser.step()
    assert 0 < model.logit_scale.item() < before


@pytest.mark.parametrize("weights", [{"no.such": torch.zeros(1)}, {"logit_scale": torch.zeros(3)}])
def test_weights_a_model_does_not_have_are_refused(model, weights):
    before = state_of(model)
    with pytest.raises(KoaError, match="no such weights"), swapped(model, weights):
        pass
    assert same(model.state_dict(), before)


def test_prompts_are_encoded_anew_when_a_locked_text_tower_is_swapped(model):
    before = model.text_features().clone()
    name = "text_tower.positional_embedding"
    with swapped(model, {name: model.state_dict()[name] + 1}):
        assert not torch.equal(model.text_features(), before)
    assert torch.equal(model.text_features(), before)


def test_the_start_of_a_run_is_made_again_from_its_choices(run):
    start = start_weights(CONFIG)
    assert same(start, start_weights(CONFIG))
    assert {name.split(".")[0] for name in start} == {"image_tower"}, "random projections are no start to go back to"
    state = run.model.state_dict()
    assert all(name in state for name in start)
    assert not torch.equal(start["image_tower.trunk.head.weight"], state["image_tower.trunk.head.weight"])
    fresh = make_model("koa-tiny", image_size=32, seed=CONFIG.seed).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in start.items())


def test_the_start_holds_only_what_is_trained():
    with_text = start_weights(CONFIG.with_changes(train_text=True, trained_blocks=1))
    assert {name.split(".")[0] for name in with_text} == {"image_tower", "text_tower"}
    assert not any("stem" in name for name in with_text)
    assert start_weights(CONFIG.with_changes(regime="probe")) == {}


def test_projections_of_towers_trained_together_are_part_of_the_start(monkeypatch):
    from koa_kit.model import clip_koa

    def aligned(*arguments, **options):
        towers = make_towers(*arguments, **options)
        towers.aligned = True
        return towers

    make_towers = clip_koa.make_towers
    monkeypatch.setattr(clip_koa, "make_towers", aligned)
    start = start_weights(CONFIG)
    assert torch.equal(start["image_projection.weight"], torch.eye(64))
    assert "logit_scale" not in start


def test_the_tuned_end_of_the_curve_is_the_run_itself(run, knees):
    before = state_of(run.model)
    curve = wise_ft_curve(run, knees.split("val"))
    assert list(curve.columns) == ["share", "accuracy", "qwk", "kl1_recall"]
    assert curve["share"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    own = metrics(run.predictions)
    assert curve.iloc[-1][["accuracy", "qwk", "kl1_recall"]].tolist() == [
        own[name] for name in ("accuracy", "qwk", "kl1_recall")
    ]
    assert same(run.model.state_dict(), before)
    pd.testing.assert_frame_equal(run.predict(knees.split("val"))[0], run.predictions)


def test_the_first_end_of_the_curve_is_the_tower_before_training(run, knees):
    val = knees.split("val")
    with swapped(run.model, start_weights(CONFIG)):
        untrained = metrics(run.predict(val)[0])
    first = wise_ft_curve(run, val, shares=(0,)).iloc[0]
    assert first["accuracy"] == untrained["accuracy"] != metrics(run.predictions)["accuracy"]


def test_a_probe_and_a_mixture_have_no_curve(run, knees):
    for changes, said in (({"regime": "probe"}, "nothing to mix"), ({"wise_ft": 0.5}, "mixture")):
        other = replace(run, config=CONFIG.with_changes(**changes))
        with pytest.raises(KoaError, match=said):
            wise_ft_curve(other, knees.split("val"))
