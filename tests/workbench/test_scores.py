"""Scores and changes are counted knee by knee, and their intervals draw both knees of a patient together."""

import numpy as np
import pandas as pd
import pytest

from koa_kit.error_analysis import compute_metrics, confusion, metric_intervals, paired_difference
from koa_kit.error_analysis.metrics import metrics_of_counts
from koa_kit.errors import KoaError
from koa_kit.workbench.selection.filters import Filters
from koa_kit.workbench.selection.scores import (
    BECAME,
    change_summary,
    changed_knees,
    confusion_difference,
    drawn_counts,
    scores_of,
)


def answering(predictions, pred, p1=None):
    """The same knees given other grades, and perhaps other KL1 probabilities, at the cost of KL0's."""
    other = predictions.assign(pred=np.asarray(pred), pred_flip=np.asarray(pred))
    return other if p1 is None else other.assign(p1=p1, p0=predictions["p0"] + predictions["p1"] - p1)


@pytest.fixture
def after(predictions):
    """Predictions with a quarter of the knees given another grade."""
    rng = np.random.default_rng(5)
    moved = (predictions["pred"].to_numpy() + rng.integers(1, 5, len(predictions))) % 5
    p1 = predictions["p1"].to_numpy() * rng.random(len(predictions))
    return answering(predictions, np.where(rng.random(len(predictions)) < 0.25, moved, predictions["pred"]), p1)


def test_each_changed_knee_became_right_wrong_or_otherwise_wrong_the_largest_change_first(predictions, after):
    table, new = changed_knees(predictions, after), after.set_index("knee_id")
    expected = predictions[(predictions["pred"] != after["pred"]).to_numpy()].set_index("knee_id")
    assert set(table["became"]) == set(BECAME)
    assert sorted(table["knee_id"]) == sorted(expected.index)
    assert table["p1_change"].abs().is_monotonic_decreasing
    for row in table.rename(columns={"from": "old"}).itertuples():
        before, now = expected.loc[row.knee_id], new.loc[row.knee_id]
        assert (row.kl, row.old, row.to, row.patient) == (before["kl"], before["pred"], now["pred"], before["patient"])
        assert row.became == ("right" if row.to == row.kl else "wrong" if row.old == row.kl else "other wrong")
        assert row.p1_change == pytest.approx(now["p1"] - before["p1"])


def test_the_order_of_rows_does_not_matter(predictions, after):
    shuffled = after.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(changed_knees(predictions, shuffled), changed_knees(predictions, after))
    assert change_summary(predictions, shuffled) == change_summary(predictions, after)
    mixed = predictions.sample(frac=1, random_state=1)
    assert change_summary(mixed, after) == change_summary(predictions, after)
    pd.testing.assert_frame_equal(confusion_difference(predictions, shuffled), confusion_difference(predictions, after))


def test_scores_before_and_after_are_those_of_the_metrics(predictions, after):
    summary, names = change_summary(predictions, after), ("accuracy", "qwk", "kl1_recall")
    old, new = compute_metrics(predictions), compute_metrics(after)
    for name in names:
        assert summary[f"{name}_before"] == pytest.approx(old[name])
        assert summary[f"{name}_after"] == pytest.approx(new[name])
        assert summary[f"{name}_difference"] == pytest.approx(new[name] - old[name])
        assert summary[f"{name}_low"] < summary[f"{name}_difference"] < summary[f"{name}_high"]


def test_its_interval_is_that_of_the_paired_bootstrap_over_patients(make_predictions):
    before = make_predictions(400, seed=1)
    rng = np.random.default_rng(2)
    after = answering(before, np.where(rng.random(800) < 0.2, before["kl"], before["pred"]))
    summary = change_summary(before, after, draws=20_000)
    for name in ("accuracy", "qwk", "kl1_recall"):
        usual = paired_difference(after, before, name, draws=4000)
        width = usual["high"] - usual["low"]
        assert summary[f"{name}_low"] == pytest.approx(usual["low"], abs=0.06 * width)
        assert summary[f"{name}_high"] == pytest.approx(usual["high"], abs=0.06 * width)


def test_counts_add_up_to_the_knees_that_changed(predictions, after):
    summary, became = change_summary(predictions, after), changed_knees(predictions, after)["became"]
    assert summary["changed"] == len(became) == (predictions["pred"] != after["pred"]).sum() > 0
    for name, key in zip(BECAME, ("became_right", "became_wrong", "other_wrong"), strict=True):
        assert summary[key] == (became == name).sum()
    assert (summary["n_knees"], summary["n_patients"]) == (120, 60)


def test_nothing_changed_is_no_difference_and_no_knee(predictions):
    summary = change_summary(predictions, predictions)
    assert len(changed_knees(predictions, predictions)) == 0
    assert summary["changed"] == summary["qwk_difference"] == summary["qwk_low"] == summary["qwk_high"] == 0
    assert not confusion_difference(predictions, predictions).to_numpy().any()


def test_one_patient_gives_a_difference_without_an_interval(predictions, after):
    summary = change_summary(predictions[:2], after[:2])
    assert not np.isnan(summary["accuracy_difference"])
    assert np.isnan(summary["accuracy_low"])
    assert np.isnan(summary["accuracy_high"])


def test_every_row_of_the_confusion_difference_adds_up_to_zero(predictions, after):
    difference = confusion_difference(predictions, after)
    assert (difference.sum(axis=1) == 0).all()
    pd.testing.assert_frame_equal(confusion(predictions) + difference, confusion(after))
    assert difference.to_numpy().any()


@pytest.mark.parametrize("compared", [changed_knees, change_summary, confusion_difference])
def test_tables_of_other_knees_or_other_readers_are_refused(predictions, after, compared):
    with pytest.raises(KoaError, match="nothing can be paired"):
        compared(predictions, after[1:])
    with pytest.raises(KoaError, match="another kl"):
        compared(predictions, after.assign(kl=(after["kl"] + 1) % 5))


def test_the_first_row_counts_all_knees_and_every_draw_as_many_patients():
    rng = np.random.default_rng(0)
    patient, cell = pd.Series(np.repeat(np.arange(30), 2)), rng.integers(7, size=60)
    counts = drawn_counts(patient, cell, 7, draws=50)
    assert counts.shape == (51, 7)
    np.testing.assert_array_equal(counts[0], np.bincount(cell, minlength=7))
    assert (counts.sum(1) == 60).all()
    assert counts[1:].std(0).max() > 0


def test_draws_spread_as_drawing_patients_one_by_one_does():
    rng = np.random.default_rng(1)
    knees = rng.integers(1, 5, 80)
    patient = np.repeat(np.arange(80), knees)
    cell = np.repeat(rng.integers(3, size=80), knees)
    fast = drawn_counts(pd.Series(patient), cell, 3, draws=20_000)[1:]
    slow = []
    for _ in range(4000):
        chosen = rng.integers(80, size=80)
        slow.append(sum(np.bincount(cell[patient == one], minlength=3) for one in chosen))
    np.testing.assert_allclose(fast.mean(0), np.mean(slow, 0), rtol=0.02)
    np.testing.assert_allclose(np.cov(fast.T), np.cov(np.array(slow).T), rtol=0.15, atol=3)


def test_a_patient_with_hundreds_of_knees_is_counted_in_full():
    counts = drawn_counts(pd.Series(["a"] * 700 + ["b"] * 2), np.array([1] * 700 + [0] * 2), 2, draws=40)
    assert counts[0].tolist() == [2, 700]
    assert {tuple(draw) for draw in counts[1:]} == {(0, 1400), (2, 700), (4, 0)}


def test_a_metric_that_does_not_follow_from_counts_is_refused(predictions, after):
    with pytest.raises(KoaError, match="auc_kl2"):
        change_summary(predictions, after, metrics=["auc_kl2"])
    with pytest.raises(KoaError, match="no interval"):
        change_summary(predictions, after, draws=0)
    assert list(metrics_of_counts(np.eye(5)[None], "mae")) == ["mae"]


@pytest.mark.parametrize("names", [("accuracy", "qwk", "kl1_recall"), ("mae", "balanced_accuracy", "kl4_f1")])
def test_scores_are_the_metrics_of_the_knees_that_are_left(make_predictions, names):
    knees = Filters(sides=("R",)).apply(make_predictions(300))
    table = scores_of(knees, names).set_index("metric")
    usual = metric_intervals(knees, metrics=names, draws=1).set_index("metric")
    assert list(table.index) == list(names)
    assert table["value"].to_numpy() == pytest.approx(usual["value"].to_numpy())
    assert table["value"].iloc[0] == pytest.approx(compute_metrics(knees)[names[0]])
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert set(table["n_knees"]) == set(table["n_patients"]) == {300}


def test_their_intervals_are_those_of_the_bootstrap_over_patients(make_predictions):
    knees = make_predictions(400, seed=2)
    fast = scores_of(knees, draws=20_000).set_index("metric")
    usual = metric_intervals(knees, metrics=list(fast.index), draws=4000).set_index("metric")
    width = usual["high"] - usual["low"]
    for end in ("low", "high"):
        assert (abs(fast[end] - usual[end]) < 0.06 * width).all()


def test_scores_repeat_whatever_the_order_of_the_knees(predictions):
    pd.testing.assert_frame_equal(scores_of(predictions), scores_of(predictions.sample(frac=1, random_state=3)))
    assert not scores_of(predictions).equals(scores_of(predictions, seed=1))


def test_no_knee_has_no_score_and_is_no_error(predictions, recwarn):
    table = scores_of(Filters(columns=(("file", "is", "nowhere"),)).apply(predictions))
    assert list(table["metric"]) == ["accuracy", "qwk", "kl1_recall"]
    assert table[["value", "low", "high"]].isna().all(axis=None)
    assert (table[["n_knees", "n_patients"]] == 0).all(axis=None)
    assert not recwarn.list


def test_one_patient_has_a_score_and_no_interval(predictions):
    table = scores_of(predictions[:2]).set_index("metric")
    assert table.loc["accuracy", "value"] == compute_metrics(predictions[:2])["accuracy"]
    assert table[["low", "high"]].isna().all(axis=None)
    assert (table["n_patients"] == 1).all()


def test_knees_without_kl1_have_no_kl1_recall(predictions):
    table = scores_of(Filters(grades=(0, 3)).apply(predictions)).set_index("metric")
    assert np.isnan(table.loc["kl1_recall", "value"])
    assert np.isnan(table.loc["kl1_recall", "low"])
    assert table.loc["accuracy", "low"] < table.loc["accuracy", "high"]


def test_scores_of_something_else_are_refused(predictions):
    with pytest.raises(KoaError, match="lack"):
        scores_of(predictions.drop(columns="p3"))
    with pytest.raises(KoaError, match="auc_kl2"):
        scores_of(predictions, ["auc_kl2"])
    with pytest.raises(KoaError, match="auc_kl2"):
        scores_of(predictions[:0], ["auc_kl2"])
