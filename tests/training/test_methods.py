"""All ways of treating left and right under one budget, and the runs that are read instead of trained."""

import numpy as np
import pandas as pd
import pytest

from koa_kit.error_analysis.predictions import flip_averaged
from koa_kit.training import METHODS, TrainConfig, cost_table, fit_or_load, method_predictions, train_methods

PROBE = TrainConfig(towers="lite0-minilm", image_size=32, regime="probe", epochs=2, batch_size=32, augment=0)


@pytest.fixture(scope="module")
def runs(knees, tmp_path_factory):
    return train_methods(knees, PROBE, tmp_path_factory.mktemp("methods"))


def test_methods_differ_in_nothing_but_the_method(runs):
    assert list(runs) == list(METHODS)
    assert {run.config.with_changes(method="plain") for run in runs.values()} == {PROBE}
    costs = cost_table(runs)
    assert list(costs["epochs"]) == [2] * len(METHODS)
    assert "images_a_second" not in costs, "no image of a probe goes through a tower while it trains"


def test_flip_averaging_stands_beside_plain_and_costs_no_run(runs):
    tables = method_predictions(runs)
    assert list(tables)[:2] == ["plain", "flip averaging"]
    pd.testing.assert_frame_equal(tables["flip averaging"], flip_averaged(runs["plain"].predictions))
    assert len({tuple(table["knee_id"]) for table in tables.values()}) == 1


def test_other_knees_can_be_graded_by_every_method(runs, knees):
    tables = method_predictions(runs, knees.split("test"))
    assert all(set(table["split"]) == {"test"} for table in tables.values())


def test_a_run_is_read_when_nothing_changed_and_trained_when_something_did(runs, knees, monkeypatch):
    import koa_kit.training.fitting as loop

    folder, trained, training = runs["plain"].folder, [], loop.Training
    monkeypatch.setattr(loop, "Training", lambda *args: trained.append(1) or training(*args))
    again = fit_or_load(knees, PROBE, folder)
    assert trained == []
    np.testing.assert_array_equal(again.predictions["s0"], runs["plain"].predictions["s0"])
    fit_or_load(knees, PROBE.with_changes(seed=1), folder)
    assert trained == [1]
    other = type(knees)(knees.name, knees.images, knees.table, "another fingerprint")
    fit_or_load(other, PROBE.with_changes(seed=1), folder)
    assert trained == [1, 1]


def test_a_run_with_prompts_of_ones_own_can_be_read_again(knees, tmp_path):
    words = (("none",), ("doubtful", "possible"), ("minimal",), ("moderate",), ("severe",))
    config = PROBE.with_changes(prompts=words)
    first, again = fit_or_load(knees, config, tmp_path), fit_or_load(knees, config, tmp_path)
    assert again.model.spec.prompts.prompts == words
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
