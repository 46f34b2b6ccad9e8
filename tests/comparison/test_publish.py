"""A published grid: every knee's answer of every trial, growing trial by trial, read back without a model."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from koa_kit.cli import app
from koa_kit.comparison.grid import run_grid
from koa_kit.comparison.presets import PRESETS, SIDES, Preset, preset
from koa_kit.comparison.published import publish_trials, read_arms, unpublished
from koa_kit.comparison.trial import Trial
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=1, batch_size=16, holdout=0.3)
ARMS = {"plain": {}, "image-only": {"head": "linear"}}
SMALL = Preset("A test.", "phantom", QUICK, ARMS, seeds=2)


@pytest.fixture(scope="module")
def published(dataset, tmp_path_factory, session_cache):
    """Trials, folder of the runs and published folder of a small grid."""
    folder, target = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        trials = SMALL.trials()
        table = run_grid(trials, folder, dataset=dataset, threads=1, device="cpu")
        # one at a time, as they end
        for trial in trials:
            publish_trials([trial], table[table["cell"] == trial.name], folder, target, load_cohort(dataset))
    return trials, folder, target


def test_every_arm_is_trained_once_before_any_arm_twice():
    names = [trial.name for trial in SMALL.trials()]
    assert names == ["plain/seed-0", "image-only/seed-0", "plain/seed-1", "image-only/seed-1"]
    assert [trial.arm for trial in SMALL.trials(seeds=1)] == ["plain", "image-only"]
    assert {trial.config.epochs for trial in SMALL.trials(["epochs=4"])} == {4}


@pytest.mark.parametrize("split", ["val", "holdout"])
def test_published_predictions_are_those_of_the_runs(published, split):
    _, folder, target = published
    stem = "" if split == "val" else f"{split}-"
    arms = read_arms(target, split)
    assert {arm: set(seeds) for arm, seeds in arms.items()} == {"plain": {0, 1}, "image-only": {0, 1}}
    for arm, seeds in arms.items():
        for seed, table in seeds.items():
            own = pd.read_parquet(folder / arm / f"seed-{seed}" / f"{stem}predictions.parquet")
            assert (table["pred"].to_numpy() == own["pred"].to_numpy()).all()
            np.testing.assert_allclose(table["p1_flip"], own["p1_flip"], atol=1e-6)
            assert (table["knee_id"].to_numpy() == own["knee_id"].to_numpy()).all()


def test_the_published_table_tells_choices_scores_cost_and_steadiness(published):
    trials, _, target = published
    table = pd.read_csv(target / "cells.csv").set_index("cell")
    assert set(table.index) == {trial.name for trial in trials}
    assert table.loc["image-only/seed-1", "head"] == "linear"
    assert (table[["seconds", "augmentation_variance"]] > 0).all().all()
    assert table[["accuracy", "holdout"]].notna().all().all()


def test_only_trials_with_other_choices_or_seeds_are_left_to_train(published):
    trials, _, target = published
    assert unpublished(trials, target) == []
    assert [trial.name for trial in unpublished(SMALL.trials(seeds=3), target)] == ["plain/seed-2", "image-only/seed-2"]
    changed = unpublished(SMALL.trials(["learning_rate=5e-4"]), target)
    assert len(changed) == len(trials)
    assert unpublished(trials, target / "nowhere") == trials


def test_a_table_from_before_a_choice_existed_holds_that_choice_at_its_default(published, tmp_path):
    trials, _, target = published
    table = pd.read_csv(target / "cells.csv")
    table.drop(columns=["mixup", "grade_weights"]).to_csv(tmp_path / "cells.csv", index=False)
    assert unpublished(trials, tmp_path) == []
    mixed = [Trial(trial.name, trial.config.with_changes(mixup=0.5), trial.arm) for trial in trials]
    assert unpublished(mixed, tmp_path) == mixed


def test_a_grid_of_other_knees_is_not_mixed_in(published, dataset):
    trials, folder, target = published
    table = pd.read_csv(folder / "cells.csv").assign(cohort_fingerprint="another")
    with pytest.raises(KoaError, match="other knees"):
        publish_trials(trials[:1], table, folder, target, load_cohort(dataset))


def test_a_split_or_folder_with_nothing_published_is_refused(published, tmp_path):
    with pytest.raises(KoaError, match="val"):
        read_arms(published[2], "test")
    with pytest.raises(KoaError, match="koa ablate"):
        read_arms(tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_distinct_trials_and_sets_patients_aside(name):
    trials = preset(name).trials()
    assert len({trial.name for trial in trials}) == len(trials)
    assert len({trial.config for trial in trials}) == len(trials)
    assert all(trial.config.holdout == 0.2 for trial in trials)


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].base])
def test_a_preset_that_builds_on_another_shares_its_choices_so_that_arms_may_be_compared(name):
    own, base = preset(name), preset(preset(name).base)
    assert own.config == base.config
    assert own.dataset == base.dataset
    assert set(own.base_arms) <= set(base.arms)
    assert not set(own.base_arms) & set(own.arms)
    assert own.baseline in {*own.arms, *own.base_arms}
    theirs = {trial.config for trial in base.trials() if trial.arm in own.base_arms}
    assert not theirs & {trial.config for trial in own.trials()}, "trained twice"


@pytest.mark.parametrize("name", ["ordinal-cpu", "miniature-ordinal"])
def test_ordinal_arms_differ_from_their_baseline_in_the_loss_alone(name):
    own = preset(name)
    plain = asdict(own.config.with_changes(**SIDES[own.baseline]))
    for arm, choices in own.arms.items():
        changed = asdict(own.config.with_changes(**choices))
        differs = {key for key in plain if changed[key] != plain[key]}
        assert differs, arm
        assert differs <= {"loss", "distance_power", "soft_width", "grade_weights"}


def test_the_command_trains_an_arm_of_a_preset_and_publishes_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    call = ["ablate", "--preset", "small", "--row", "plain", "--seeds", "1", "--dataset", str(dataset)]
    call += ["--runs", str(tmp_path / "runs"), "--publish", str(tmp_path / "results")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert list(read_arms(tmp_path / "results")) == ["plain"]
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 0
    assert "1 of 1 trials are published" in again.output


@pytest.mark.parametrize(
    "call", ["", "x --arm plain", "--preset none", "--preset miniature --arm x", "--preset miniature --method plain"]
)
def test_a_grid_that_is_not_clear_is_refused(call):
    assert isinstance(CliRunner().invoke(app, ["ablate", *call.split()]).exception, KoaError)
