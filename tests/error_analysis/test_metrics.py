"""Metrics against scikit-learn, intervals over patients, paired comparisons."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from koa_kit import error_analysis as ea
from koa_kit.error_analysis.metrics import metrics_of_counts, weighted_auc
from koa_kit.error_analysis.statistics.intervals import bootstrap, draw_patients
from koa_kit.error_analysis.statistics.seeds import compare_arms
from koa_kit.errors import KoaError

FIVE = list(range(5))


def with_grades(predictions, kl, pred):
    return predictions.iloc[: len(kl)].assign(kl=np.array(kl), pred=np.array(pred))


def test_metrics_are_scikit_learns(predictions):
    kl, pred, found = predictions["kl"], predictions["pred"], ea.compute_metrics(predictions)
    assert set(found) == set(ea.METRICS)
    counted = metrics_of_counts(sk.confusion_matrix(kl, pred, labels=FIVE)[None])
    for name in set(found) & set(counted):
        assert found[name] == pytest.approx(counted[name][0])
    score = predictions[["p2", "p3", "p4"]].astype(float).sum(axis=1)
    assert found["auc_kl2"] == pytest.approx(sk.roc_auc_score(kl >= 2, score))
    assert found["flip_disagreement"] == (pred != predictions["pred_flip"]).mean()


def test_every_draw_is_the_metric_of_the_drawn_knees(predictions):
    patients = np.unique(predictions["patient"])
    weights = draw_patients(len(patients), 4, seed=5)
    assert (weights.sum(1) == len(patients)).all()
    assert weights.std() > 0
    drawn = bootstrap(predictions, [*ea.METRICS, "kl4_precision", "kl0_f1"], draws=4, seed=5)
    for draw, times in enumerate(weights, start=1):
        often = predictions["patient"].map(dict(zip(patients, times, strict=True)))
        knees = predictions.loc[predictions.index.repeat(often)]
        knees = knees.assign(knee_id=np.arange(len(knees)).astype(str))  # a knee drawn twice is two knees
        expected, grades = ea.compute_metrics(knees), ea.per_grade(knees)
        expected |= {"kl4_precision": grades["precision"][4], "kl0_f1": grades["f1"][0]}
        for name, value in expected.items():
            assert drawn[name][draw] == pytest.approx(value, nan_ok=True), name


@given(st.lists(st.integers(0, 9), min_size=25, max_size=25).filter(lambda cells: sum(cells) > 0))
@settings(max_examples=60, deadline=None)
def test_metrics_of_counts_agree_with_scikit_learn_for_any_matrix(cells):
    counts = np.array(cells).reshape(5, 5)
    kl, pred = (np.repeat(grade, counts.ravel()) for grade in np.divmod(np.arange(25), 5))
    found = {name: values[0] for name, values in metrics_of_counts(counts[None]).items()}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(kl, pred))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(kl, pred))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of grades that were given but do not occur
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(kl, pred))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(kl, pred, average="macro", zero_division=np.nan))
    if len({*kl, *pred}) > 1:
        assert found["qwk"] == pytest.approx(sk.cohen_kappa_score(kl, pred, labels=FIVE, weights="quadratic"))
    else:
        assert np.isnan(found["qwk"])
    tables = sk.precision_recall_fscore_support(kl, pred, labels=FIVE, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), tables, strict=False):
        np.testing.assert_allclose([found[f"kl{grade}_{name}"] for grade in FIVE], values)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_weighted_auc_counts_ties_half_as_scikit_learn_does(knees):
    positive, score, weight = (np.array(column) for column in zip(*knees, strict=True))
    area = weighted_auc(positive, score / 3, weight[None].astype(float), np.arange(len(knees)))[0]
    if weight[positive].sum() and weight[~positive].sum():
        assert area == pytest.approx(sk.roc_auc_score(positive, score, sample_weight=weight))
    else:
        assert np.isnan(area)


def test_what_absent_grades_or_knees_of_one_grade_cannot_tell_is_nan_and_raises_no_warning(predictions):
    knees = with_grades(predictions, [0, 0, 0, 2, 2], [0, 0, 2, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, grades = ea.compute_metrics(knees), ea.per_grade(knees)
        table = ea.metric_intervals(knees, metrics=["kl1_recall", "accuracy"], draws=50).set_index("metric")
        alike = ea.compute_metrics(with_grades(predictions, [3, 3, 3], [3, 3, 3]))
    assert all(np.isnan(found[name]) for name in ("kl1_recall", "kl1_precision", "kl1_f1"))
    assert np.isnan([alike["qwk"], alike["auc_kl2"]]).all()
    assert alike["accuracy"] == 1
    assert list(grades["support"]) == [3, 0, 2, 0, 0]
    assert table.loc["kl1_recall", ["value", "low", "high"]].isna().all()
    assert table.loc["kl1_recall", "draws"] == 0
    assert table.loc["accuracy", "draws"] == 50


def test_the_confusion_matrix_is_always_five_by_five_and_its_part_keeps_every_knee(predictions):
    knees = with_grades(predictions, [0, 1, 1, 2, 2, 2], [0, 0, 3, 2, 1, 4])
    whole, part = ea.confusion(knees), ea.confusion(knees, (0, 1, 2))
    assert whole.shape == (5, 5)
    assert whole.loc[1, 3] == 1
    assert whole.to_numpy().sum() == 6
    assert list(part.columns) == [0, 1, 2, "other"]
    assert list(part["other"]) == [0, 1, 1]
    assert part.to_numpy().sum() == 6


def test_intervals_over_patients_are_wider_when_both_knees_fail_together(make_predictions):
    knees = make_predictions(150, seed=2)
    kl, patient = knees["kl"].to_numpy(), np.arange(300) // 2
    twins = knees.assign(pred=np.where(patient % 3 == 0, (kl + 1) % 5, kl))
    strangers = twins.assign(patient=twins["knee_id"])
    rows = [ea.metric_intervals(table, metrics="accuracy").iloc[0] for table in (twins, strangers)]
    together, alone = (row["high"] - row["low"] for row in rows)
    assert together / alone == pytest.approx(np.sqrt(2), rel=0.08)


def test_intervals_hold_the_value_repeat_with_the_seed_and_ignore_the_rows_order(predictions):
    table = ea.metric_intervals(predictions, draws=300, seed=4)
    assert list(table.columns) == ["metric", "value", "low", "high", "n_knees", "n_patients", "draws"]
    assert (table["low"] <= table["high"]).all()
    assert (table["n_patients"] == 60).all()
    shuffled = predictions.sample(frac=1, random_state=0)
    again = ea.metric_intervals(shuffled, draws=300, seed=4)
    np.testing.assert_allclose(again[["value", "low", "high"]], table[["value", "low", "high"]])
    assert not np.allclose(ea.metric_intervals(predictions, draws=300, seed=5)["low"], table["low"])
    narrow = ea.metric_intervals(predictions, draws=300, seed=4, level=0.5)
    assert (narrow["high"] - narrow["low"] <= table["high"] - table["low"]).all()


def test_the_interval_of_accuracy_covers_the_truth_about_as_often_as_it_says(make_predictions):
    population = make_predictions(4000, seed=9)
    truth, patients = ea.compute_metrics(population)["accuracy"], population["patient"].unique()
    covered = []
    for seed in range(60):
        chosen = np.random.default_rng(seed).choice(patients, 80, replace=False)
        row = ea.metric_intervals(population[population["patient"].isin(chosen)], metrics="accuracy", draws=300).iloc[0]
        covered.append(row["low"] <= truth <= row["high"])
    assert 0.85 <= np.mean(covered) <= 1


def test_two_thousand_draws_of_826_knees_take_well_under_a_second(make_predictions):
    knees = make_predictions(413)
    start = time.process_time()
    ea.metric_intervals(knees)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("wrong", [{"metrics": ["f2"]}, {"draws": 0}, {"level": 1.5}])
def test_intervals_refuse_what_makes_no_interval(predictions, wrong):
    with pytest.raises(KoaError):
        ea.metric_intervals(predictions, **wrong)


def test_a_difference_is_paired_by_knee_not_by_row(predictions):
    averaged = ea.flip_averaged(predictions).sample(frac=1, random_state=1)
    for metric in ("accuracy", "qwk", "auc_kl2", "ece"):
        found = ea.compare({"own": predictions, "averaged": averaged}, metrics=[metric], draws=200).iloc[1]
        expected = ea.compute_metrics(averaged)[metric] - ea.compute_metrics(predictions)[metric]
        assert found["difference"] == pytest.approx(expected)
        assert found["difference_low"] <= found["difference"] <= found["difference_high"]
    assert ea.mcnemar(averaged, predictions)["only_b"] == ea.mcnemar(predictions, averaged)["only_a"]
    assert ea.mcnemar(predictions, predictions)["p_exact"] == ea.mcnemar(predictions, predictions)["p_mid"] == 1


@pytest.mark.parametrize(
    ("b_wrong", "counts", "p_exact", "p_mid"),
    [(8, (11, 8, 1, 0), 20 / 2**9, 11 / 2**9), (1, (18, 1, 1, 0), 1, 0.75), (0, (19, 0, 1, 0), 1, 0.5)],
)
def test_mcnemar_counts_the_knees_only_one_model_gets_right(predictions, b_wrong, counts, p_exact, p_mid):
    kl = predictions["kl"].iloc[:20].to_numpy()
    row = np.arange(20)
    a, b = np.where(row < 1, (kl + 1) % 5, kl), np.where((row > 0) & (row <= b_wrong), (kl + 1) % 5, kl)
    found = ea.mcnemar(with_grades(predictions, kl, a), with_grades(predictions, kl, b))
    assert (found["both"], found["only_a"], found["only_b"], found["neither"]) == counts
    assert (found["p_exact"], found["p_mid"]) == pytest.approx((p_exact, p_mid))


def test_a_comparison_of_methods_is_that_of_rows_with_one_training_each(predictions):
    averaged, metrics = ea.flip_averaged(predictions), ("accuracy", "qwk")
    table = ea.compare({"plain": predictions, "flip": averaged}, metrics=metrics, draws=200)
    rows = compare_arms({"plain": {0: predictions}, "flip": {0: averaged}}, metrics=metrics, draws=200)
    assert set(rows) - set(table) == {"row", "seed_sd", "p", "p_holm", "n_seeds"}
    assert table.drop(columns="method").equals(rows[table.columns.drop("method")])
