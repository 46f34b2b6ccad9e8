"""Scores and changes are counted knee by knee, and their intervals draw both knees of a patient together."""

import numpy as np
import pandas as pd
import pytest

from koa_kit.error_analysis import compare, compute_metrics, metric_intervals
from koa_kit.errors import KoaError
from koa_kit.workbench.selection.scores import BECAME, SCORES, change_summary, changed_knees, scores_of


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
    assert sorted(table["knee_id"]) == sorted(expected.index)
    assert table["p1_change"].abs().is_monotonic_decreasing
    for row in table.rename(columns={"from": "old"}).itertuples():
        before, now = expected.loc[row.knee_id], new.loc[row.knee_id]
        assert (row.kl, row.old, row.to, row.patient) == (before["kl"], before["pred"], now["pred"], before["patient"])
        assert row.became == ("right" if row.to == row.kl else "wrong" if row.old == row.kl else "other wrong")
        assert row.p1_change == pytest.approx(now["p1"] - before["p1"])
    summary = change_summary(predictions, after)
    assert summary["changed"] == len(expected) > 0
    for name, key in zip(BECAME, ("became_right", "became_wrong", "other_wrong"), strict=True):
        assert summary[key] == (table["became"] == name).sum() > 0
    assert (summary["n_knees"], summary["n_patients"]) == (120, 60)


def test_the_order_of_rows_does_not_matter(predictions, after):
    shuffled, mixed = (table.sample(frac=1, random_state=0) for table in (after, predictions))
    assert change_summary(predictions, shuffled) == change_summary(mixed, after) == change_summary(predictions, after)
    pd.testing.assert_frame_equal(changed_knees(predictions, shuffled), changed_knees(predictions, after))
    pd.testing.assert_frame_equal(scores_of(predictions), scores_of(mixed))
    assert not scores_of(predictions).equals(scores_of(predictions, seed=1))


def test_scores_before_and_after_are_those_of_the_metrics(predictions, after):
    summary, old, new = change_summary(predictions, after), compute_metrics(predictions), compute_metrics(after)
    for name in SCORES:
        found = [summary[f"{name}_{end}"] for end in ("before", "after", "difference")]
        assert found == pytest.approx([old[name], new[name], new[name] - old[name]])
        assert summary[f"{name}_low"] < found[2] < summary[f"{name}_high"]


def test_the_interval_of_a_change_is_that_of_the_paired_bootstrap_over_patients(make_predictions):
    before = make_predictions(400, seed=1)
    rng = np.random.default_rng(2)
    after = answering(before, np.where(rng.random(800) < 0.2, before["kl"], before["pred"]))
    summary = change_summary(before, after, draws=20_000)
    for usual in compare({"before": before, "after": after}, metrics=SCORES, draws=4000)[len(SCORES) :].itertuples():
        near = 0.06 * (usual.difference_high - usual.difference_low)
        assert summary[f"{usual.metric}_low"] == pytest.approx(usual.difference_low, abs=near)
        assert summary[f"{usual.metric}_high"] == pytest.approx(usual.difference_high, abs=near)


def test_nothing_changed_is_no_difference(predictions):
    summary = change_summary(predictions, predictions)
    assert len(changed_knees(predictions, predictions)) == 0
    assert summary["changed"] == summary["qwk_difference"] == summary["qwk_low"] == summary["qwk_high"] == 0


def test_one_patient_has_scores_and_a_difference_without_an_interval(predictions, after):
    summary, table = change_summary(predictions[:2], after[:2]), scores_of(predictions[:2]).set_index("metric")
    assert not np.isnan(summary["accuracy_difference"])
    assert np.isnan([summary["accuracy_low"], summary["accuracy_high"]]).all()
    assert table.loc["accuracy", "value"] == compute_metrics(predictions[:2])["accuracy"]
    assert table[["low", "high"]].isna().all(axis=None)
    assert (table["n_patients"] == 1).all()


@pytest.mark.parametrize("compared", [changed_knees, change_summary])
def test_tables_of_other_knees_or_other_readers_are_refused(predictions, after, compared):
    with pytest.raises(KoaError, match="nothing can be paired"):
        compared(predictions, after[1:])
    with pytest.raises(KoaError, match="another kl"):
        compared(predictions, after.assign(kl=(after["kl"] + 1) % 5))


def test_what_does_not_follow_from_counts_makes_no_interval_or_is_no_table_is_refused(predictions, after):
    for knees in (predictions, predictions[:0]):
        with pytest.raises(KoaError, match="auc_kl2"):
            scores_of(knees, ["auc_kl2"])
    with pytest.raises(KoaError, match="no interval"):
        change_summary(predictions, after, draws=0)
    with pytest.raises(KoaError, match="lack"):
        scores_of(predictions.drop(columns="p3"))


@pytest.mark.parametrize("names", [SCORES, ("mae", "balanced_accuracy", "kl4_f1")])
def test_scores_are_the_metrics_of_the_knees_that_are_left(make_predictions, names):
    knees = make_predictions(300).query("side == 'R'")
    table = scores_of(knees, names).set_index("metric")
    usual = metric_intervals(knees, metrics=names, draws=1).set_index("metric")
    assert list(table.index) == list(names)
    assert scores_of(knees, names[0])["metric"].tolist() == [names[0]]
    assert table["value"].to_numpy() == pytest.approx(usual["value"].to_numpy())
    assert table["value"].iloc[0] == pytest.approx(compute_metrics(knees)[names[0]])
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert set(table["n_knees"]) == set(table["n_patients"]) == {300}


def test_their_intervals_are_those_of_the_bootstrap_over_patients(make_predictions):
    knees = make_predictions(400, seed=2)
    fast = scores_of(knees, draws=20_000).set_index("metric")
    usual = metric_intervals(knees, metrics=list(fast.index), draws=4000).set_index("metric")
    for end in ("low", "high"):
        assert (abs(fast[end] - usual[end]) < 0.06 * (usual["high"] - usual["low"])).all()


def test_no_knee_has_no_score_no_kl1_no_recall_and_neither_is_an_error(predictions, recwarn):
    table = scores_of(predictions.query("kl in (0, 3)")).set_index("metric")
    assert table.loc["kl1_recall", ["value", "low"]].isna().all()
    assert table.loc["accuracy", "low"] < table.loc["accuracy", "high"]
    table = scores_of(predictions[:0])
    assert list(table["metric"]) == list(SCORES)
    assert table[["value", "low", "high"]].isna().all(axis=None)
    assert (table[["n_knees", "n_patients"]] == 0).all(axis=None)
    assert not recwarn.list
