"""A published grid: every knee's answer of every cell, growing cell by cell, read back without a model."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from koa_kit.cli import app
from koa_kit.comparison.grid import run_grid
from koa_kit.comparison.presets import PRESETS, SIDES, Preset, preset
from koa_kit.comparison.publish import publish, unpublished
from koa_kit.comparison.published import read_rows
from koa_kit.comparison.trial import Cell
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=1, batch_size=16, development=0.3)
ROWS = {"plain": {}, "image-only": {"head": "linear"}}
SMALL = Preset("A test.", "phantom", QUICK, ROWS, seeds=2)


@pytest.fixture(scope="module")
def published(dataset, tmp_path_factory, session_cache):
    """Cells, folder of the runs and published folder of a small grid."""
    folder, target = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        cells = SMALL.cells()
        table = run_grid(cells, folder, dataset=dataset, threads=1, device="cpu")
        # one at a time, as they end
        for cell in cells:
            publish([cell], table[table["cell"] == cell.name], folder, target, load_cohort(dataset))
    return cells, folder, target


def test_every_row_is_met_once_before_any_row_twice():
    assert [cell.name for cell in SMALL.cells()] == [
        *("plain/seed-0", "image-only/seed-0", "plain/seed-1", "image-only/seed-1")
    ]
    assert [cell.row for cell in SMALL.cells(seeds=1)] == ["plain", "image-only"]
    assert {cell.config.epochs for cell in SMALL.cells(["epochs=4"])} == {4}


@pytest.mark.parametrize("split", ["val", "development"])
def test_published_predictions_are_those_of_the_runs(published, split):
    _, folder, target = published
    stem = "" if split == "val" else f"{split}-"
    rows = read_rows(target, split)
    assert {row: set(seeds) for row, seeds in rows.items()} == {"plain": {0, 1}, "image-only": {0, 1}}
    for row, seeds in rows.items():
        for seed, told in seeds.items():
            own = pd.read_parquet(folder / row / f"seed-{seed}" / f"{stem}predictions.parquet")
            assert (told["pred"].to_numpy() == own["pred"].to_numpy()).all()
            np.testing.assert_allclose(told["p1_flip"], own["p1_flip"], atol=1e-6)
            assert (told["knee_id"].to_numpy() == own["knee_id"].to_numpy()).all()


def test_the_published_table_tells_choices_scores_cost_and_steadiness(published):
    cells, _, target = published
    table = pd.read_csv(target / "cells.csv").set_index("cell")
    assert set(table.index) == {cell.name for cell in cells}
    assert table.loc["image-only/seed-1", "head"] == "linear"
    assert (table[["seconds", "augmentation_variance"]] > 0).all().all()
    assert table[["accuracy", "development"]].notna().all().all()


def test_flip_averaging_stands_beside_its_row_and_never_disagrees_with_its_mirror_image(published):
    rows = read_rows(published[2], flip_averaging=("plain",))
    assert list(rows) == ["image-only", "plain", "plain + flip averaging"]
    averaged = rows["plain + flip averaging"][0]
    assert (averaged["pred"] == averaged["pred_flip"]).all()


def test_only_cells_with_other_choices_or_seeds_are_left_to_train(published):
    cells, _, target = published
    assert unpublished(cells, target) == []
    assert [cell.name for cell in unpublished(SMALL.cells(seeds=3), target)] == ["plain/seed-2", "image-only/seed-2"]
    changed = unpublished(SMALL.cells(["learning_rate=5e-4"]), target)
    assert len(changed) == len(cells)
    assert unpublished(cells, target / "nowhere") == cells


def test_a_table_from_before_a_choice_existed_holds_that_choice_at_its_default(published, tmp_path):
    cells, _, target = published
    table = pd.read_csv(target / "cells.csv")
    table.drop(columns=["mixup", "grade_weights"]).to_csv(tmp_path / "cells.csv", index=False)
    assert unpublished(cells, tmp_path) == []
    mixed = [Cell(cell.name, cell.config.with_changes(mixup=0.5), cell.row) for cell in cells]
    assert unpublished(mixed, tmp_path) == mixed


def test_a_grid_of_other_knees_is_not_mixed_in(published):
    cells, folder, target = published
    table = pd.read_csv(folder / "cells.csv").assign(cohort_fingerprint="another")
    cohort = load_cohort("phantom")
    with pytest.raises(KoaError, match="other knees"):
        publish(cells[:1], table, folder, target, cohort)


def test_a_split_or_folder_with_nothing_published_is_told(published, tmp_path):
    with pytest.raises(KoaError, match="val"):
        read_rows(published[2], "test")
    with pytest.raises(KoaError, match="koa ablate"):
        read_rows(tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_distinct_cells_and_sets_patients_aside(name):
    cells = preset(name).cells()
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({cell.config for cell in cells}) == len(cells)
    assert all(cell.config.development == 0.2 for cell in cells)


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].base])
def test_a_preset_beside_another_shares_its_choices_so_that_rows_may_be_compared(name):
    own, base = preset(name), preset(preset(name).base)
    assert own.config == base.config
    assert own.dataset == base.dataset
    assert set(own.beside) <= set(base.rows)
    assert not set(own.beside) & set(own.rows)
    assert own.baseline in {*own.rows, *own.beside}
    theirs = {cell.config for cell in base.cells() if cell.row in own.beside}
    assert not theirs & {cell.config for cell in own.cells()}, "trained twice"


@pytest.mark.parametrize("name", ["ordinal-cpu", "miniature-ordinal"])
def test_ordinal_rows_differ_from_their_baseline_in_the_loss_alone(name):
    own = preset(name)
    plain = asdict(own.config.with_changes(**SIDES[own.baseline]))
    changed = {row: asdict(own.config.with_changes(**choices)) for row, choices in own.rows.items()}
    for row, choices in changed.items():
        differs = {key for key in plain if choices[key] != plain[key]}
        assert differs, row
        assert differs <= {"loss", "distance_power", "soft_width", "grade_weights"}


def test_the_command_trains_a_row_of_a_preset_and_publishes_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    call = ["ablate", "--preset", "small", "--row", "plain", "--seeds", "1", "--dataset", str(dataset)]
    call += ["--runs", str(tmp_path / "runs"), "--publish", str(tmp_path / "results")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert list(read_rows(tmp_path / "results")) == ["plain"]
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 0
    assert "1 of 1 cells are published" in again.output


@pytest.mark.parametrize(
    "call",
    [
        ["ablate"],
        ["ablate", "x", "--row", "plain"],
        ["ablate", "--preset", "none"],
        ["ablate", "--preset", "miniature", "--row", "x"],
        ["ablate", "--preset", "miniature", "--method", "plain"],
    ],
)
def test_a_grid_that_is_not_clear_is_refused(call):
    assert isinstance(CliRunner().invoke(app, call).exception, KoaError)


def test_a_cell_is_compared_by_its_name_without_the_seed():
    assert Cell("w=0.1/plain/seed-2", QUICK).row == "w=0.1/plain"
    assert Cell("alone", QUICK).row == "alone"
