"""The optimiser: which parameter takes how large a step, and when."""

import math

import pytest

from koa_kit.engine.optimiser import one_cycle, parameter_groups
from koa_kit.training.config import TrainConfig, untrained
from koa_kit.training.step import parts_of

CONFIG = TrainConfig(image_size=32, learning_rate=1e-2, tower_rate=0.1, weight_decay=0.05, train_text=True)


@pytest.fixture
def model():
    return untrained(CONFIG)


def groups_of(model, config) -> list[dict]:
    return parameter_groups(parts_of(model, config), config.weight_decay)


def rates_by_name(model, groups) -> dict[str, float]:
    """Highest learning rate of every parameter that is in a group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups), "no parameter is in two groups"
    return rates


def test_without_layer_decay_there_is_one_group_a_component_and_decay(model):
    groups = groups_of(model, CONFIG)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (1e-2 * 0.1, 0.05), (1e-2 * 0.1, 0.0), (1e-2 * 0.1, 0.05), (1e-2 * 0.1, 0.0), (1e-2, 0.05), (1e-2, 0.0),
    ]  # fmt: skip
    in_order = [p for name in ("image", "text", "projections") for p in model.component(name).values()]
    for number, wide in enumerate((True, False)):
        chosen = [p for group in groups[number::2] for p in group["params"]]
        assert [id(p) for p in chosen] == [id(p) for p in in_order if (p.ndim > 1) == wide]


def test_every_block_learns_half_as_fast_as_the_one_above_it_and_decays_as_without(model):
    groups = groups_of(model, CONFIG.with_changes(layer_decay=0.5))
    assert all(group["weight_decay"] == 0.05 * (p.ndim > 1) for group in groups for p in group["params"])
    rates = rates_by_name(model, groups)
    assert set(rates) == {name for name, _ in model.named_parameters()}
    image = {"stem.0": 4, "stem.1": 4, "blocks.0": 3, "blocks.1": 2, "blocks.2": 1, "head": 0}
    text = {"token_emb": 3, "positional": 3, "transformer.resblocks.0": 2, "transformer.resblocks.1": 1, "ln_final": 0}
    expected = {f"image_tower.trunk.{name}": below for name, below in image.items()}
    expected |= {f"text_tower.{name}": below for name, below in text.items()} | {"text_tower.text_projection": 0}
    for start, below in expected.items():
        found = {rate for name, rate in rates.items() if name.startswith(start)}
        assert list(found) == pytest.approx([1e-3 * 0.5**below]), start
    assert {rates[n] for n in ("image_projection.weight", "text_projection.weight", "logit_scale")} == {1e-2}


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_what_is_not_trained_is_in_no_group_and_the_top_of_the_rest_learns_at_the_full_rate(layer_decay):
    config = CONFIG.with_changes(layer_decay=layer_decay, train_text=False, trained_blocks=1)
    model = untrained(config)
    rates = rates_by_name(model, groups_of(model, config))
    assert set(rates) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("stem" in name or name.startswith("text_tower") for name in rates)
    assert rates["image_tower.trunk.head.weight"] == pytest.approx(1e-3)
    assert rates["image_tower.trunk.blocks.2.0.weight"] == pytest.approx(1e-3 * layer_decay)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_rates_climb_for_a_quarter_of_the_steps_and_then_fall(model, layer_decay):
    config = CONFIG.with_changes(warmup=0.25, layer_decay=layer_decay)
    groups = groups_of(model, config)
    highest = [group["lr"] for group in groups]
    optimiser, schedule = one_cycle(groups, 40, config.warmup)
    assert all(group["fused"] for group in optimiser.param_groups), "one pass over all parameters"
    course = []
    for _ in range(40):
        course.append(schedule.get_last_lr())
        optimiser.step()
        schedule.step() if len(course) < 40 else None
    for group, peak in enumerate(highest):
        rates = [step[group] for step in course]
        assert rates.index(max(rates)) == 9
        assert (rates[0], max(rates), rates[-1]) == pytest.approx((peak / 25, peak, peak / 25e4))
        # a cosine: half-way down after half of the fall
        assert rates[24] == pytest.approx(peak * (1 + math.cos(math.pi * 15 / 30)) / 2, rel=1e-3)
    assert course[9][-1] == 1e-2, "the last group is the projections', whose rate the history shows"
