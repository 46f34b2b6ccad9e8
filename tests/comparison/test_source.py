"""The arms of a comparison come from the published table of real knees or a grid of phantoms: one record for both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from koa_kit.cli import app
from koa_kit.comparison import source as comparison_source
from koa_kit.comparison.presets import PRESETS, SIDES, Preset
from koa_kit.comparison.source import published_grid, reproduction_table
from koa_kit.data import load_cohort
from koa_kit.data.splits import set_aside
from koa_kit.error_analysis import probabilities
from koa_kit.errors import KoaError
from koa_kit.paths import resource
from koa_kit.phantom.knee.features import SIGNS
from koa_kit.series.grid import grid_for_session
from koa_kit.series.session import NotebookSession
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=1, batch_size=32, holdout=0.2)
SMALL = Preset("A test.", "phantom", QUICK, {arm: SIDES[arm] for arm in ("plain", "flip-pooling")}, seeds=1)
AGAIN = replace(SMALL, arms={"plain": SIDES["plain"]}, base="sides-cpu")
SHOWN = ["plain", "plain + flip averaging", "flip-pooling"]


def lesson_of(folder, dataset="phantom", scale="smoke"):
    return NotebookSession(dataset, scale, 0, None, folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, session_cache):
    """The small grid as a session of phantoms gets it, and where it lies."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        patch.setitem(PRESETS, "small", SMALL)
        return grid_for_session(lesson_of(folder), preset="small"), folder


@pytest.fixture
def kit(trained, tmp_path, monkeypatch):
    """A kit with that grid in its results, said to be of real knees; its predictions are in another order of arms."""
    home = tmp_path / "results" / "sides-cpu"
    home.mkdir(parents=True)
    source = trained[1] / "published" / "small"
    pd.read_csv(source / "cells.csv").assign(cohort="oai-kl224").to_csv(home / "cells.csv", index=False)
    pd.read_parquet(source / "predictions.parquet").to_parquet(home / "predictions.parquet")
    monkeypatch.setattr(comparison_source, "resource", lambda name: tmp_path / name)
    # so that two arms are the whole comparison
    monkeypatch.setitem(PRESETS, "sides-cpu", SMALL)
    return home


def test_arms_trained_on_the_spot_come_in_the_order_of_the_preset_with_flip_averaging_beside_plain(trained):
    grid, _ = trained
    assert list(grid.val) == list(grid.holdout) == SHOWN
    assert grid.source.startswith("2 cells trained here just now on phantom knees")
    assert list(grid.cells["row"]) == ["flip-pooling", "plain"]
    assert grid.cells["seconds"].gt(0).all()
    averaged = grid.val["plain + flip averaging"][0]
    assert (averaged["pred"] == averaged["pred_flip"]).all()


def test_both_splits_hold_patients_of_their_own(trained):
    grid, _ = trained
    cohort = set_aside(load_cohort("phantom"), 0.2)
    for split, arms in (("val", grid.val), ("holdout", grid.holdout)):
        assert set(arms["plain"][0]["knee_id"]) == set(cohort.split(split).table["knee_id"])
    assert not set(grid.val["plain"][0]["patient"]) & set(grid.holdout["plain"][0]["patient"])


def test_the_ceiling_is_known_for_phantoms(trained):
    ceiling = trained[0].ceiling()
    assert 0.7 < ceiling["accuracy"] < 0.95
    assert ceiling["kl1_recall"] < ceiling["accuracy"]


def test_of_knees_whose_signs_nobody_knows_there_is_no_ceiling(trained):
    cohort = trained[0].cohort
    seen = replace(cohort, table=cohort.table.drop(columns=list(SIGNS)))
    assert replace(trained[0], cohort=seen).ceiling() == {}


def test_a_second_call_reads_the_same_runs(trained, monkeypatch):
    grid, folder = trained
    monkeypatch.setitem(PRESETS, "small", SMALL)
    before = (folder / "runs/small/plain/seed-0/metrics.json").stat().st_mtime_ns
    again = grid_for_session(lesson_of(folder), preset="small")
    assert (folder / "runs/small/plain/seed-0/metrics.json").stat().st_mtime_ns == before
    assert again.val["plain"][0].equals(grid.val["plain"][0])


@pytest.mark.parametrize("scale", ["laptop", "full"])
def test_published_results_of_real_knees_are_read_without_the_knees(kit, trained, tmp_path, scale):
    grid = grid_for_session(lesson_of(tmp_path / "out", "oai-kl224", scale))
    assert grid.source == "published results of 2 cells on oai-kl224"
    assert list(grid.val) == list(grid.holdout) == SHOWN
    assert np.array_equal(grid.val["plain"][0]["pred"], trained[0].val["plain"][0]["pred"])
    assert grid.cohort is None
    assert grid.ceiling() == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dataset", "scale", "results"),
    [
        ("phantom", "laptop", "whole"),
        ("oai-kl224", "smoke", "whole"),
        ("oai-kl224", "laptop", "lacks an arm"),
        ("oai-kl224", "laptop", "missing"),
    ],
)
def test_without_a_whole_published_grid_of_the_knees_asked_for_phantoms_are_trained(
    kit, tmp_path, monkeypatch, dataset, scale, results
):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    if results == "lacks an arm":
        table = pd.read_csv(kit / "cells.csv")
        table[table["cell"].str.startswith("plain/")].to_csv(kit / "cells.csv", index=False)
        assert list(published_grid("sides-cpu", whole=False).val) == SHOWN
    if results == "missing":
        monkeypatch.setattr(comparison_source, "resource", lambda name: resource(f"no-{name}"))
    if results != "whole":
        with pytest.raises(KoaError, match="No whole grid"):
            published_grid("sides-cpu")
    grid = grid_for_session(lesson_of(tmp_path / "out", dataset, scale), preset="small", seeds=2)
    assert "trained here just now on phantom knees" in grid.source
    assert ("nothing of oai-kl224 is published" in grid.source) == (dataset != "phantom")
    assert set(grid.val["plain"]) == {0, 1}


def test_a_grid_with_a_failed_trial_is_refused(tmp_path, monkeypatch):
    broken = Preset("A test.", "phantom", QUICK, {"plain": {"towers": "no-such-tower"}}, seeds=1)
    monkeypatch.setitem(PRESETS, "small", broken)
    with pytest.raises(KoaError, match="no-such-tower"):
        grid_for_session(lesson_of(tmp_path), preset="small")


def test_arms_of_the_base_stand_before_the_own_ones_with_the_same_seeds(trained):
    base, _ = trained
    twice = replace(base, val={row: tables | {1: tables[0]} for row, tables in base.val.items()})
    twice = replace(twice, holdout=twice.val, cells=pd.concat([base.cells, base.cells.assign(seed=1)]))
    asked = Preset("Another.", "phantom", QUICK, {"own": {}}, seeds=1, base="small", base_arms=("plain",))
    own = replace(base, val={"own": base.val["flip-pooling"]}, preset=asked, cells=base.cells.head(1).assign(row="own"))
    own = replace(own, holdout=own.val)
    found = own.with_base(twice)
    assert {row: set(seeds) for row, seeds in found.val.items()} == {"plain": {0}, "own": {0}}
    assert list(found.holdout) == ["plain", "own"]
    assert list(found.cells["row"]) == ["plain", "own"]
    assert list(own.val) == ["own"]


def test_an_arm_that_is_rounded_stands_there_twice_with_the_same_probabilities(trained):
    base, _ = trained
    asked = Preset("Another.", "phantom", QUICK, {}, base="small", base_arms=("plain",), rounded=True)
    found = replace(base, preset=asked).with_base(base).val
    assert list(found)[:2] == ["plain", "plain + rounding"]
    shown, rounded = found["plain"][0], found["plain + rounding"][0]
    p = probabilities(shown)
    np.testing.assert_allclose(probabilities(rounded), p, atol=1e-6)  # similarities are kept as float32
    assert (rounded["pred"] == np.rint(p @ np.arange(5))).all()
    assert (rounded["pred"] != shown["pred"]).any()


def test_an_arm_trained_again_is_compared_with_its_published_interval(kit):
    table = pd.read_csv(kit / "cells.csv").set_index("cell", drop=False).loc[["plain/seed-0"]]
    found = reproduction_table(table, AGAIN)
    assert list(found["metric"]) == ["accuracy", "qwk", "kl1_recall"]
    assert found["inside"].all()
    assert np.allclose(found["new"], found["value"])
    far = reproduction_table(table.assign(accuracy=0.0), AGAIN).set_index("metric")
    assert far["inside"].to_dict() == {"accuracy": False, "qwk": True, "kl1_recall": True}


def test_a_failed_trial_other_knees_or_an_unpublished_base_say_nothing_of_the_published_arm(kit):
    table = pd.read_csv(kit / "cells.csv")
    for change in ({"status": "failed"}, {"cohort_fingerprint": "other"}):
        assert reproduction_table(table.assign(**change), AGAIN).empty
    assert reproduction_table(table, SMALL).empty
    (kit / "predictions.parquet").unlink()
    assert reproduction_table(table, AGAIN).empty


def test_the_command_says_whether_an_arm_came_back_into_its_interval(kit, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "again", AGAIN)
    done = CliRunner().invoke(app, ["ablate", "--preset", "again", "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("plain, ")]
    assert [line.split(":")[0] for line in lines] == ["plain, accuracy", "plain, qwk", "plain, kl1 recall"]
    assert all(line.endswith(": inside") for line in lines)
