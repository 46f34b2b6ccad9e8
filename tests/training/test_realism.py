"""Phantoms beside real knees, tried on a folder whose "real" knees are phantoms of other patients."""

import numpy as np
import pytest
from typer.testing import CliRunner

from koa_kit.cli import app
from koa_kit.data.phantom import KneeFeatures, draw_knee, phantom_cohort, write_phantom_files
from koa_kit.errors import KoaError
from koa_kit.model import make_model
from koa_kit.training.prediction import grade_images, predict
from koa_kit.training.realism import compare_with_real


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phantom_files(tmp_path_factory.mktemp("own") / "knees", patients=40, size=224, seed=5)


def test_phantoms_cannot_be_told_from_other_phantoms(folder):
    table, auc = compare_with_real(folder, knees=48, towers="koa-tiny", seed=1)
    assert table.index.tolist() == ["histogram distance", "spectrum slope"]
    assert (table["halves"] > 0).all()
    assert 0.2 < auc < 0.8


def test_the_command_prints_both_measures_and_the_area(folder):
    result = CliRunner().invoke(
        app, ["data", "realism", "--dataset", str(folder), "--knees", "40", "--towers", "koa-tiny"]
    )
    assert result.exit_code == 0
    assert "histogram distance" in result.output
    assert "AUC" in result.output


def test_too_few_knees_are_refused(folder):
    with pytest.raises(KoaError, match="too few"):
        compare_with_real(folder, knees=10)


@pytest.mark.parametrize("canonical_side", [False, True])
def test_single_radiographs_get_the_grades_of_a_cohort(canonical_side):
    cohort, model = phantom_cohort(4, size=96, seed=2), make_model("koa-tiny", seed=1)
    table = predict(model, cohort, canonical_side=canonical_side)[0]
    alone = grade_images(model, cohort.images, cohort.table["side"], canonical_side=canonical_side)
    np.testing.assert_allclose(alone, table[[f"p{grade}" for grade in range(5)]], atol=1e-5)


def test_with_canonical_sides_a_left_knee_is_graded_like_its_right_twin():
    model = make_model("koa-tiny", seed=1)
    pair = np.stack([draw_knee(KneeFeatures(), side=side, size=model.towers.image_size) for side in "LR"])
    left, right = grade_images(model, pair, ["L", "R"], canonical_side=True)
    np.testing.assert_allclose(left, right, atol=1e-6)
