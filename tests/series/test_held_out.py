"""Held-out results are of patients the model was not trained on; of real knees they need no radiograph."""

from dataclasses import replace

import numpy as np
import pytest

from koa_kit import error_analysis as ea
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.series import held_out
from koa_kit.series.held_out import held_out_results
from koa_kit.series.session import NotebookSession
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=1, batch_size=32)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory, session_cache):
    """Results on phantom knees of a model trained for one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        patch.setattr(held_out.TrainConfig, "for_scale", lambda scale, **choices: replace(QUICK, **choices))
        return held_out_results(NotebookSession("phantom", "smoke", 0, None, tmp_path_factory.mktemp("session")))


@pytest.fixture(scope="module")
def without_radiographs(tmp_path_factory):
    empty, out_dir = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("out")
    return held_out_results(NotebookSession("oai-kl224", "laptop", 0, empty, out_dir))


def test_phantoms_are_evaluated_on_a_test_split_of_other_patients(synthetic):
    cohort = load_cohort("phantom")
    trained = cohort.table.query("split in ('train', 'val')")["patient"]
    assert synthetic.split == "test"
    assert set(synthetic.predictions["patient"]).isdisjoint(trained)
    assert synthetic.fingerprint == cohort.fingerprint
    assert synthetic.embeddings.shape[:2] == (len(synthetic.predictions), 2)


def test_augmented_knees_are_a_sample_in_the_order_of_the_predictions(synthetic):
    knees, answers = synthetic.augmented(most=20, views=3, seed=1)
    assert answers.shape == (20, 3, 5)
    rows = synthetic.predictions["knee_id"].isin(knees["knee_id"])
    assert list(synthetic.predictions["knee_id"][rows]) == list(knees["knee_id"])


def test_without_radiographs_the_tables_of_the_kit_are_read(without_radiographs):
    results = without_radiographs
    assert (results.split, results.knees, results.augmented()) == ("holdout", None, None)
    assert len(results.predictions) == len(results.embeddings) == 1184
    assert ea.compute_metrics(results.predictions)["qwk"] > 0.8
    assert ea.consensus_posterior(results.predictions, None) is None


def test_a_gallery_without_radiographs_still_shows_the_similarities(without_radiographs):
    lost = ea.confused(without_radiographs.predictions, true=1).query("pred != 1")
    figure = ea.gallery_figure(None, lost, columns=4, limit=8)
    assert sum(len(ax.patches) == 5 for ax in figure.axes) == 8
    assert not any(ax.images for ax in figure.axes)


def test_with_radiographs_the_tables_agree_with_the_model(without_radiographs, tmp_path, real_data):
    results = held_out_results(NotebookSession("oai-kl224", "laptop", 0, real_data, tmp_path))
    assert results.predictions.equals(without_radiographs.predictions)
    assert list(results.knees.table["knee_id"]) == list(results.predictions["knee_id"])
    anew, embeddings = results.run.predict(results.knees.take(np.arange(6)))
    names = [f"s{grade}{view}" for view in ("", "_flip") for grade in range(5)]
    assert anew[names].to_numpy() == pytest.approx(results.predictions[names].iloc[:6].to_numpy(), abs=2e-3)
    assert np.abs(embeddings - results.embeddings[:6]).max() < 2e-3


def test_another_version_of_the_data_set_is_refused(real_data, tmp_path, monkeypatch):
    other = replace(load_cohort("oai-kl224", data_dir=real_data), fingerprint="0" * 16)
    monkeypatch.setattr(NotebookSession, "cohort", lambda session: other)
    with pytest.raises(KoaError, match="other knees"):
        held_out_results(NotebookSession("oai-kl224", "laptop", 0, real_data, tmp_path))
