"""The ceiling on phantom knees: no rule does better than the best ones, and simulated readers confirm their scores."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.features import Rules, kl_grades
from koa_kit.phantom.readers.bounds import (
    accuracy_rule,
    kl1_frontier,
    noise_ceiling,
    qwk_expected,
    qwk_rule,
    sampled_noise_ceiling,
)
from koa_kit.phantom.readers.readers import (
    READERS,
    Reader,
    consensus,
    consensus_probabilities,
    grade_probabilities,
    reading_errors,
    readings,
)

GRADES = np.arange(5)
EVERY_RULE = np.array(list(product(range(5), repeat=5)))
"""All predictions that can be made for five knees, ``(3125, 5)``."""


def random_posterior(knees, seed, sharpness=0.4):
    return np.random.default_rng(seed).dirichlet([sharpness] * 5, knees)


def confusion_kappa(pred, posterior):
    """QWK from the expected confusion, written out."""
    confusion = np.array([posterior[pred == grade].sum(axis=0) for grade in GRADES])
    by_chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / len(posterior)
    squares = np.subtract.outer(GRADES, GRADES) ** 2
    return 1 - (squares * confusion).sum() / (squares * by_chance).sum()


@pytest.fixture(scope="module")
def simulated(signs_of):
    """Posterior of 300 knees, and their consensus in each of 500 simulated gradings ``(500, 300)``."""
    signs, draws = signs_of("oai", 300), 500
    again = signs.loc[np.tile(signs.index, draws)].reset_index(drop=True)
    grades = consensus(readings(again, reading_errors(len(again), np.random.default_rng(9))))
    return consensus_probabilities(signs), grades.reshape(draws, 300)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sharpness", [0.1, 0.5, 5])
def test_no_predictions_for_five_knees_beat_the_qwk_rule(seed, sharpness):
    posterior = random_posterior(5, seed, sharpness)
    best = max(confusion_kappa(pred, posterior) for pred in EVERY_RULE)
    assert confusion_kappa(qwk_rule(posterior), posterior) == pytest.approx(best, abs=1e-12)
    assert noise_ceiling(posterior).qwk == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_no_predictions_for_five_knees_beat_the_accuracy_the_error_or_the_frontier(seed):
    posterior = random_posterior(5, seed)
    accuracy = posterior[np.arange(5), EVERY_RULE].mean(axis=1)
    error = (posterior * np.abs(EVERY_RULE[:, :, None] - GRADES)).sum(axis=2).mean(axis=1)
    assert noise_ceiling(posterior).accuracy == pytest.approx(accuracy.max(), abs=1e-12)
    assert np.array_equal(accuracy_rule(posterior), EVERY_RULE[accuracy.argmax()])
    assert noise_ceiling(posterior).mae == pytest.approx(error.min(), abs=1e-12)
    recall = (posterior[:, 1] * (EVERY_RULE == 1)).sum(axis=1) / posterior[:, 1].sum()
    for row in kl1_frontier(posterior).itertuples():
        assert accuracy[recall >= row.kl1_recall - 1e-12].max() == pytest.approx(row.accuracy, abs=1e-12)


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), knees=st.integers(2, 40), sharpness=st.sampled_from([0.05, 0.5, 5]))
def test_qwk_of_the_expected_confusion_is_that_of_scikit_learn_and_the_qwk_rules_is_highest(seed, knees, sharpness):
    posterior = random_posterior(knees, seed, sharpness)
    pred = np.random.default_rng(seed).integers(0, 5, knees)
    reference = cohen_kappa_score(
        np.repeat(pred, 5), np.tile(GRADES, knees), weights="quadratic", sample_weight=posterior.ravel()
    )
    assert qwk_expected(pred, posterior) == pytest.approx(reference, abs=1e-9)
    best = qwk_expected(qwk_rule(posterior), posterior)
    assert max(0, qwk_expected(accuracy_rule(posterior), posterior) - 1e-12) <= best <= 1


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), pairs=st.integers(1, 20))
def test_a_picture_that_shows_less_has_no_higher_ceiling(seed, pairs):
    full = random_posterior(2 * pairs, seed)
    # Two knees that look the same in the picture can only be given their common average.
    blurred = np.repeat((full[0::2] + full[1::2]) / 2, 2, axis=0)
    known, seen = noise_ceiling(full), noise_ceiling(blurred)
    assert seen.accuracy <= known.accuracy + 1e-12
    assert seen.qwk <= known.qwk + 1e-12
    assert seen.mae >= known.mae - 1e-12


def test_simulated_readers_confirm_accuracy_qwk_recall_and_shares(simulated):
    posterior, kl = simulated
    accuracy = (kl == accuracy_rule(posterior)).mean(axis=1)
    assert_within_sampling_error(accuracy.mean(), noise_ceiling(posterior).accuracy, accuracy)
    pred = qwk_rule(posterior)
    single = [cohen_kappa_score(one, pred, weights="quadratic") for one in kl]
    pooled = cohen_kappa_score(kl.ravel(), np.tile(pred, len(kl)), weights="quadratic")
    assert_within_sampling_error(pooled, noise_ceiling(posterior).qwk, single)
    expected, pred = noise_ceiling(posterior), accuracy_rule(posterior)
    for grade in GRADES:
        found = ((kl == grade) & (pred == grade)).sum(axis=1) / (kl == grade).sum(axis=1)
        pooled = ((kl == grade) & (pred == grade)).sum() / (kl == grade).sum()
        assert_within_sampling_error(pooled, expected.recall[grade], found)
        share = (kl == grade).mean(axis=1)
        assert_within_sampling_error(share.mean(), expected.shares[grade], share)
    assert expected.kl1_recall == expected.recall[1]
    assert expected.n == 300


def assert_within_sampling_error(measured, expected, draws):
    assert abs(measured - expected) < 4 * np.std(draws) / len(draws) ** 0.5


def test_ninety_five_percent_of_new_gradings_score_within_the_sampled_range(simulated):
    posterior, kl = simulated
    spread, likeliest = qwk_rule(posterior), accuracy_rule(posterior)
    scores = {
        "accuracy": (kl == likeliest).mean(axis=1),
        "qwk": np.array([cohen_kappa_score(one, spread, weights="quadratic") for one in kl]),
        "kl1_recall": ((kl == 1) & (likeliest == 1)).sum(axis=1) / (kl == 1).sum(axis=1),
    }
    table = sampled_noise_ceiling(posterior).set_index("metric")
    assert list(table.index) == list(scores)
    # Both these gradings and those the range was made from are samples.
    error = 4 * (0.95 * 0.05 * (1 / len(kl) + 1 / 2000)) ** 0.5
    for name, score in scores.items():
        low, high = table.loc[name, ["low", "high"]]
        # Accuracy moves in steps of one knee: a step at either end belongs to the range and widens it.
        step = (score == low).mean() + (score == high).mean()
        assert 0.95 - error <= ((score >= low) & (score <= high)).mean() <= 0.95 + error + step
        assert low < table.loc[name, "value"] == getattr(noise_ceiling(posterior), name) < high


def test_the_sampled_range_depends_on_the_seed_alone_and_narrows_with_more_knees(monkeypatch):
    few, many = random_posterior(40, 0), random_posterior(1600, 0)
    assert sampled_noise_ceiling(few, 300, seed=4).equals(sampled_noise_ceiling(few, 300, seed=4))
    assert not sampled_noise_ceiling(few, 300, seed=4).equals(sampled_noise_ceiling(few, 300, seed=5))
    wide, narrow = (
        table["high"] - table["low"] for table in (sampled_noise_ceiling(few, 300), sampled_noise_ceiling(many, 300))
    )
    assert (narrow < wide / 3).all()
    whole = sampled_noise_ceiling(few, 101)
    monkeypatch.setitem(sampled_noise_ceiling.__globals__, "_NUMBERS_AT_ONCE", 500)
    assert sampled_noise_ceiling(few, 101).equals(whole)


def test_a_model_that_is_given_one_reading_can_beat_the_ceiling(signs_of):
    signs = signs_of("oai", 500)
    a, b, c = (grade_probabilities(signs, reader) for reader in READERS.values())
    joint = np.zeros((len(signs), 5, 5))
    for grades in product(range(5), repeat=3):
        joint[:, grades[0], sorted(grades)[1]] += a[:, grades[0]] * b[:, grades[1]] * c[:, grades[2]]
    given_a = joint.max(axis=2).sum(axis=1).mean()
    assert given_a > noise_ceiling(consensus_probabilities(signs)).accuracy + 0.02


def test_readers_without_errors_leave_no_doubt(signs_of):
    signs = signs_of("balanced", 300)
    sure = noise_ceiling(consensus_probabilities(signs, {"R": Reader("R", Rules(), 0, 0, 0, 0)}))
    assert (sure.accuracy, sure.qwk, sure.mae, sure.recall) == (1, 1, 0, (1,) * 5)
    assert sure.shares == pytest.approx(np.bincount(kl_grades(signs)) / 300)


def test_the_frontier_trades_accuracy_for_kl1_recall(signs_of):
    posterior = consensus_probabilities(signs_of("oai", 800))
    curve = kl1_frontier(posterior)
    assert list(curve.columns) == ["bias", "kl1_recall", "accuracy", "kl1_precision"]
    assert 30 <= len(curve) <= 41
    best = noise_ceiling(posterior)
    assert curve.iloc[0][["bias", "kl1_recall", "accuracy"]].tolist() == pytest.approx(
        [0, best.kl1_recall, best.accuracy]
    )
    assert (curve["bias"].diff()[1:] > 0).all()
    assert (curve["kl1_recall"].diff()[1:] > 0).all()
    assert (curve["accuracy"].diff()[1:] < 0).all()
    assert 0.999 <= curve["kl1_recall"].iloc[-1] <= 1


def test_each_point_of_the_frontier_is_its_bias_added_to_the_logits_of_kl1():
    posterior = random_posterior(200, 3, 1.0)
    curve = kl1_frontier(posterior, 9)
    for row in curve.itertuples():
        # Just beyond the bias, so that the knee it is made for is called KL1 whatever the rounding.
        pred = (np.log(posterior) + (row.bias + 1e-9) * np.eye(5)[1]).argmax(axis=1)
        called = posterior[pred == 1, 1].sum()
        assert row.accuracy == pytest.approx(posterior[np.arange(200), pred].mean())
        assert row.kl1_recall == pytest.approx(called / posterior[:, 1].sum())
        assert row.kl1_precision == pytest.approx(called / (pred == 1).sum())


def test_a_grade_that_cannot_occur_has_no_recall_and_a_grade_that_is_sure_no_qwk():
    posterior = np.array([[0.5, 0, 0.5, 0, 0], [0, 0, 0.3, 0.7, 0]])
    assert np.isnan(noise_ceiling(posterior).recall).tolist() == [False, True, False, False, True]
    with pytest.raises(KoaError, match="No knee can be KL1"):
        kl1_frontier(posterior)
    low, high = sampled_noise_ceiling(posterior, 20).set_index("metric").loc["kl1_recall", ["low", "high"]]
    assert np.isnan([low, high]).all()
    # QWK is undefined where every knee is surely the same grade.
    assert np.isnan(noise_ceiling(np.eye(5)[[2, 2]]).qwk)
    # Alike but in doubt, no rule can rank the knees.
    assert noise_ceiling(np.full((3, 5), 0.2)).qwk == 0


@pytest.mark.parametrize("function", [noise_ceiling, accuracy_rule, qwk_rule, kl1_frontier, sampled_noise_ceiling])
def test_what_is_no_posterior_is_refused(function):
    four_grades, one_row, no_knee = np.full((3, 4), 0.25), np.full(5, 0.2), np.empty((0, 5))
    sum_above_1, unknown, negative = np.full((2, 5), 0.3), np.full((2, 5), np.nan), np.array([[1.2, -0.2, 0, 0, 0]])
    for posterior in (four_grades, one_row, no_knee, sum_above_1, unknown, negative):
        with pytest.raises(KoaError, match=r"posterior of shape|no probabilities"):
            function(posterior)


def test_a_curve_needs_two_points_and_a_range_one_draw():
    with pytest.raises(KoaError, match="no curve"):
        kl1_frontier(random_posterior(3, 0), points=1)
    with pytest.raises(KoaError, match="no range"):
        sampled_noise_ceiling(random_posterior(3, 0), draws=0)
