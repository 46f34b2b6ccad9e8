"""A packaged run: calibrated, the same for both views, told by a card whose numbers are its own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from koa_kit.data.splits import HOLDOUT, set_aside
from koa_kit.error_analysis import compute_metrics
from koa_kit.error_analysis.calibration import temperature
from koa_kit.errors import KoaError
from koa_kit.pretrained import load_pretrained, package_run
from koa_kit.pretrained.names import DEFAULT, pretrained_names
from koa_kit.training import TrainConfig, fit, load_run

QUICK = TrainConfig(image_size=32, epochs=8, batch_size=16, augment=0.3, holdout=0.3, label_smoothing=0.2)


@pytest.fixture(scope="module")
def packaged(knees, tmp_path_factory):
    """Folder of the run, of the package, and the package."""
    folder, target = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("package") / "bright"
    fit(knees, QUICK, folder)
    return folder, target, package_run(folder, target, knees)


def test_a_packaged_model_says_the_same_of_a_knee_and_its_mirror_image(packaged, knees):
    told = packaged[2].predictions
    assert (told["pred"] == told["pred_flip"]).all()
    again = load_run(packaged[1]).predict(set_aside(knees, 0.3).split("val"))[0]
    pd.testing.assert_frame_equal(again, told)


def test_its_probabilities_are_calibrated_on_val_and_no_grade_changed_by_that(packaged, knees):
    folder, _, package = packaged
    assert temperature(package.predictions) == pytest.approx(1, abs=1e-3)
    run = load_run(folder)
    run.model.spec = replace(run.model.spec, flip_pooling=True)
    before = run.predict(knees.split("val"))[0]
    assert temperature(before) != pytest.approx(1, abs=0.02)
    assert (before["pred"] == package.predictions["pred"]).all()


def test_the_card_tells_the_scores_of_both_splits_and_what_it_is_not_for(packaged):
    _, target, package = packaged
    card = (target / "README.md").read_text(encoding="utf-8")
    aside = pd.read_parquet(target / f"{HOLDOUT}-predictions.parquet")
    for table in (package.predictions, aside):
        found = compute_metrics(table)
        assert f"| {found['accuracy']:.3f} (" in card
        assert f"{found['kl1_recall']:.3f} (" in card
    assert "Not for clinical use" in card
    assert "right knees" in card
    assert "nan" not in card


def test_a_package_is_not_written_over_another_or_made_of_other_knees(packaged, knees, make_knees, tmp_path):
    folder, target, _ = packaged
    with pytest.raises(KoaError, match="already"):
        package_run(folder, target, knees)
    with pytest.raises(KoaError, match="other knees"):
        package_run(folder, tmp_path / "new", make_knees(seed=5))
    assert not (tmp_path / "new").exists()


def test_a_model_that_does_not_come_with_the_kit_is_refused_with_those_that_do():
    with pytest.raises(KoaError, match=DEFAULT):
        load_pretrained("vit-huge")


def test_the_model_that_comes_with_the_kit_is_small_and_grades_as_its_predictions_say(real_data):
    from koa_kit import load_cohort

    assert DEFAULT in pretrained_names()
    run = load_pretrained(device="cpu")
    assert all(path.stat().st_size < 16e6 for path in run.folder.glob("model.*"))
    val = load_cohort("oai-kl224", data_dir=real_data).split("val").take(np.arange(64))
    told = run.predict(val)[0].set_index("knee_id")
    kept = run.predictions.set_index("knee_id").loc[told.index]
    np.testing.assert_allclose(told["p1"], kept["p1"], atol=1e-3)
    assert (told["pred"] == told["pred_flip"]).all()
    # by the graph, whose images are resampled by Pillow and whose sums are in another order
    grades, p = run.grader.predict(val.images, val.table["side"])  # by the graph
    np.testing.assert_allclose(p[:, 1], told["p1"], atol=0.02)
    assert (grades == told["pred"].to_numpy()).mean() > 0.98
