"""A run's choices: checked when made, kept as YAML, changed by name."""

import pytest

from koa_kit.configuration import write_yaml
from koa_kit.errors import KoaError
from koa_kit.prompts import prompt_set
from koa_kit.training import METHODS, SCALES, TrainConfig


def test_choices_survive_the_run_folder(tmp_path):
    words = (("none",), ("doubtful", "possible"), ("minimal",), ("moderate",), ("severe",))
    config = TrainConfig(
        method="symmetry", prompts=words, grade_weights=(1.0, 2.0, 1.0, 1.0, 1.0), learning_rate=3e-4, seed=7
    )
    write_yaml(config, tmp_path / "config.yaml")
    assert TrainConfig.read(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("method", METHODS)
def test_only_the_papers_methods_carry_its_losses(method):
    weights = TrainConfig(method=method, symmetry=0.7, consistency=0.3).loss_weights
    expected = {"symmetry": (0.7, 0.0), "symmetry_consistency": (0.7, 0.3)}.get(method, (0.0, 0.0))
    assert (weights["symmetry"], weights["consistency"]) == expected


def test_a_probe_locks_both_towers_and_a_finetune_the_text():
    assert TrainConfig(regime="probe").locked == {"image", "text"}
    assert TrainConfig(regime="finetune").locked == {"text"}
    assert TrainConfig(regime="finetune", train_text=True).locked == frozenset()


def test_choices_are_read_from_the_command_line():
    config = TrainConfig().with_text(["learning_rate=1e-3", "epochs=3", "method=symmetry", "train_text=true"])
    assert (config.learning_rate, config.epochs, config.method, config.train_text) == (1e-3, 3, "symmetry", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "symetry"}, "no method 'symetry'"),
        ({"regime": "zero-shot"}, "no regime"),
        ({"form": "l2"}, "no form"),
        ({"epochs": 0}, "above 0"),
        ({"symmetry": -1.0}, "at least 0"),
        ({"grade_weights": (1.0, 2.0)}, "grade_weights"),
        ({"learning_rat": 1e-3}, "no choice 'learning_rat'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(change, message):
    with pytest.raises(KoaError, match=message):
        TrainConfig().with_changes(**change)


@pytest.mark.parametrize(
    "text",
    [
        "epochs",
        "epochs=many",
        "epochs=1.9",
        "epochs=true",
        "train_text=3",
        "epoch=3",
        "learning_rate=.nan",
        "ema=1",
        "warmup=.inf",
    ],
)
def test_choices_that_cannot_be_read_are_refused(text):
    with pytest.raises(KoaError):
        TrainConfig().with_text([text])


def test_an_unknown_scale_is_refused_with_the_known_ones():
    with pytest.raises(KoaError, match=", ".join(SCALES)):
        TrainConfig.for_scale("huge")


def test_earlier_names_of_choices_are_understood(tmp_path):
    config = TrainConfig().with_text(["exposure=own", "scored_views=both"])
    assert (config.normalize, config.val_views) == ("per_image", "both")
    (tmp_path / "config.yaml").write_text("towers: koa-tiny\nexposure: tower\nscored_views: one\n")
    assert TrainConfig.read(tmp_path / "config.yaml") == TrainConfig()


def test_a_misspelt_choice_is_refused_where_a_run_is_written_down_too():
    with pytest.raises(KoaError, match="no choice 'epoch'"):
        TrainConfig(epoch=3)


def test_prompts_of_every_kind_are_the_same_choice():
    texts = [list(sentences) for sentences in prompt_set("attributes").prompts]
    kinds = [TrainConfig(prompts=prompts) for prompts in (prompt_set("attributes"), texts, tuple(map(tuple, texts)))]
    assert len(set(kinds)) == 1
