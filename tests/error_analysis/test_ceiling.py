"""The model beside the ceiling: a perfect rule reaches it, a lucky one may pass it, real knees have none."""

import numpy as np
import pandas as pd
import pytest

from koa_kit import error_analysis as ea
from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError
from koa_kit.phantom import consensus_probabilities, noise_ceiling, sample_population
from koa_kit.phantom.readers.bounds import accuracy_rule
from koa_kit.training.prediction import predictions_table


@pytest.fixture(scope="module")
def knees() -> Cohort:
    table = sample_population(150, seed=4).assign(file="", sha256="")
    return Cohort("phantom", np.zeros((len(table), 2, 2), np.uint8), table, "0" * 16)


def answers(table: pd.DataFrame, pred: np.ndarray) -> pd.DataFrame:
    """Predictions table of a model that is quite sure of these grades."""
    logits = 5.0 * (np.arange(5) == pred[:, None])
    return predictions_table(table, np.stack([logits, logits], axis=1))


def test_the_posterior_belongs_to_the_predicted_knees_in_their_order(knees):
    shuffled = knees.table.sample(frac=0.5, random_state=1)
    posterior = ea.consensus_posterior(answers(shuffled, shuffled["kl"].to_numpy()), knees)
    np.testing.assert_allclose(posterior, consensus_probabilities(shuffled))


def test_the_best_rule_mostly_stands_within_its_own_range():
    within = []
    for seed in range(12):
        table = sample_population(100, seed=seed).assign(file="", sha256="")
        posterior = consensus_probabilities(table)
        beside = ea.compare_with_ceiling(answers(table, accuracy_rule(posterior)), posterior)
        assert beside.index.tolist() == ["accuracy", "qwk", "kl1_recall"]
        assert beside.loc["accuracy", "ceiling"] == pytest.approx(noise_ceiling(posterior).accuracy, abs=0.01)
        within.append(beside["model"].between(beside["ceiling_low"], beside["ceiling_high"]).loc["accuracy"])
    # Of 95 % ranges, about one in twenty misses.
    assert sum(within) >= 9


def test_a_model_that_always_says_two_lies_below_the_range(knees):
    posterior = consensus_probabilities(knees.table)
    table = ea.compare_with_ceiling(answers(knees.table, np.full(len(knees), 2)), posterior)
    assert (table["model"] < table["ceiling_low"]).all()


def test_real_knees_have_no_known_ceiling_and_the_figure_says_so(knees):
    columns = ["knee_id", "patient", "side", "split", "kl", "file", "sha256", "inverted"]
    real = Cohort("own", knees.images, knees.table[columns], "1" * 16)
    predictions = answers(knees.table, np.zeros(len(knees), int))
    assert ea.consensus_posterior(predictions, real) is None
    figure = ea.ceiling_figure(predictions, None)
    assert "not known" in figure.axes[0].texts[0].get_text()


def test_the_figure_puts_the_model_where_its_scores_are(knees):
    posterior = consensus_probabilities(knees.table)
    predictions = answers(knees.table, accuracy_rule(posterior))
    figure = ea.ceiling_figure(predictions, posterior)
    right = figure.axes[1]
    (dot,) = [line for line in right.lines if line.get_marker() == "o"]
    found = ea.compute_metrics(predictions)
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (found["kl1_recall"], found["accuracy"])


def test_posteriors_and_predictions_must_fit(knees):
    predictions = answers(knees.table, np.zeros(len(knees), int))
    with pytest.raises(KoaError, match="10 posteriors for 300"):
        ea.compare_with_ceiling(predictions, np.full((10, 5), 0.2))
    with pytest.raises(KoaError, match="P99999L is not in the cohort"):
        ea.consensus_posterior(predictions.assign(knee_id="P99999L"), knees)
