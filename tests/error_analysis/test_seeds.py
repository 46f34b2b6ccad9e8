"""Intervals over patients and seeds, rows of a grid against a baseline, and sentences that say no more than those."""

import numpy as np
import pytest
from simulated_predictions import trained
from sklearn.metrics import cohen_kappa_score

from koa_kit.error_analysis import compute_metrics, mcnemar, metric_intervals
from koa_kit.error_analysis.statistics.conclusions import draw_conclusions, outcome
from koa_kit.error_analysis.statistics.intervals import draw_patients
from koa_kit.error_analysis.statistics.seeds import compare_arms, draw_seeds, holm, seed_intervals, seed_values
from koa_kit.errors import KoaError

DIFFERENCES = ["difference", "difference_low", "difference_high"]


@pytest.fixture
def tables(predictions):
    return {seed: trained(predictions, seed) for seed in (0, 1, 2)}


def by_row(table, metric):
    return table[table["metric"] == metric].set_index("row")


def test_intervals_are_those_of_knees_written_out_draw_by_draw(make_predictions):
    knees = make_predictions(15, seed=1)
    tables = {seed: trained(knees, seed) for seed in (0, 1, 2)}
    patients, patient = np.unique(knees["patient"], return_inverse=True)
    accuracies, kappas = [], []
    for weight, chosen in zip(draw_patients(len(patients), 40, 7), draw_seeds([0, 1, 2], 40, 7), strict=True):
        drawn = np.repeat(np.arange(len(knees)), weight[patient].astype(int))
        kl, preds = knees["kl"].to_numpy()[drawn], [tables[seed]["pred"].to_numpy()[drawn] for seed in chosen]
        accuracies.append(np.mean([np.mean(kl == pred) for pred in preds]))
        kappas.append(np.mean([cohen_kappa_score(kl, pred, labels=range(5), weights="quadratic") for pred in preds]))
    found = seed_intervals(tables, metrics=("accuracy", "qwk"), draws=40, seed=7, level=0.9)
    for row, samples in zip(found.itertuples(), (accuracies, kappas), strict=True):
        assert (row.low, row.high) == pytest.approx(np.percentile(samples, [5, 95]))
        each = [compute_metrics(table)[row.metric] for table in tables.values()]
        assert (row.value, row.seed_sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
        assert (row.n_seeds, row.n_knees, row.n_patients) == (3, 30, 15)


def test_with_one_seed_the_interval_is_that_over_patients(predictions):
    found = seed_intervals({5: predictions}, draws=200, seed=3)
    expected = metric_intervals(predictions, draws=200, seed=3)
    columns = ["metric", "value", "low", "high", "n_knees", "n_patients"]
    assert found[columns].equals(expected[columns])
    assert found["seed_sd"].isna().all()
    assert (found["n_seeds"] == 1).all()


def test_seeds_that_are_all_right_or_all_wrong_are_drawn_one_half_and_one_quarter_of_the_time(predictions):
    right = predictions.assign(pred=predictions["kl"])
    wrong = predictions.assign(pred=(predictions["kl"] + 1) % 5)
    for level, ends in ((0.95, (0, 1)), (0.4, (0.5, 0.5))):
        row = seed_intervals({0: right, 1: wrong}, metrics="accuracy", level=level).iloc[0]
        assert (row["low"], row["high"]) == ends
    assert row["seed_sd"] == pytest.approx(np.sqrt(0.5))


def test_a_metric_one_seed_cannot_tell_is_nan(tables):
    tables[1] = tables[1].assign(pred=0)
    found = seed_intervals(tables, metrics=("kl1_precision", "kl1_recall"), draws=50).set_index("metric")
    assert found.loc["kl1_precision", ["value", "low", "high"]].isna().all()
    assert found.loc["kl1_recall", ["value", "low", "high"]].notna().all()


def test_seeds_are_drawn_alike_for_the_same_seeds_and_independently_for_others():
    own, other = draw_seeds([0, 1, 2], 500, 0), draw_seeds([3, 4, 5], 500, 0)
    assert own.shape == (500, 3)
    assert set(own.ravel()) == {0, 1, 2}
    assert (own == draw_seeds([0, 1, 2], 500, 0)).all()
    assert (own == other).mean() == pytest.approx(1 / 3, abs=0.05)


def test_a_row_does_not_differ_from_itself_shuffled_or_under_other_seeds(tables):
    shuffled = {seed: tables[seed].sample(frac=1, random_state=seed) for seed in (2, 0, 1)}
    rows = {"plain": tables, "again": shuffled, "renamed": dict(zip((2, 0, 1), tables.values(), strict=True))}
    table = compare_arms(rows, metrics=("accuracy", "qwk", "kl1_recall", "auc_kl2", "ece", "macro_f1"), draws=100)
    again = table[table["row"] == "again"]
    assert (again[DIFFERENCES] == 0).all(axis=None)
    assert (again[["p", "p_holm"]] == 1).all(axis=None)
    assert by_row(table, "accuracy").loc["again", "p_mcnemar"] == 1
    assert (table.loc[table["row"] == "renamed", "difference"] == 0).all()


def test_p_is_twice_the_smoothed_share_of_draws_on_the_wrong_side(make_predictions):
    knees = make_predictions(40, seed=1)
    own, other = trained(knees, 1, 0.25), trained(knees, 2, 0.32)
    found = by_row(compare_arms({"plain": {0: other}, "own": {0: own}}, metrics="accuracy", draws=300), "accuracy")
    weights = draw_patients(40, 300, 0)
    gain = ((own["pred"] == own["kl"]).astype(int) - (other["pred"] == other["kl"])).to_numpy().reshape(40, 2).sum(1)
    gaps = weights @ gain
    expected = 2 * (min((gaps <= 0).sum(), (gaps >= 0).sum()) + 1) / 301
    assert 0.02 < expected < 1
    assert found.loc["own", "p"] == pytest.approx(expected)


def test_p_stays_uniform_enough_where_rows_do_not_differ(make_predictions):
    small = []
    for trial in range(60):
        knees = make_predictions(60, seed=trial)
        rows = {name: {0: trained(knees, [trial, place])} for place, name in enumerate(("plain", "same"))}
        small.append(compare_arms(rows, metrics="accuracy", draws=200)["p"].iloc[1] < 0.2)
    assert 0.05 <= np.mean(small) <= 0.38


def test_the_same_seeds_are_paired_and_others_are_not(predictions):
    shares = dict(enumerate((0.05, 0.35, 0.65)))
    plain = {seed: trained(predictions, 1, wrong) for seed, wrong in shares.items()}
    better = {seed: trained(predictions, 1, wrong - 0.03 - 0.05 * wrong) for seed, wrong in shares.items()}
    renamed = {seed + 10: table for seed, table in better.items()}
    table = by_row(compare_arms({"plain": plain, "paired": better, "unpaired": renamed}, draws=500), "accuracy")
    width = table["difference_high"] - table["difference_low"]
    assert width["unpaired"] > 5 * width["paired"]
    assert table.loc["paired", "difference"] == pytest.approx(table.loc["unpaired", "difference"])
    p = [mcnemar(better[seed], plain[seed])["p_mid"] for seed in shares]
    assert min(p) < table.loc["paired", "p_mcnemar"] == np.median(p) < max(p)
    assert np.isnan(table.loc["unpaired", "p_mcnemar"])


def test_a_comparison_has_a_row_for_each_row_and_metric_with_that_rows_own_interval(tables):
    rows = {"plain": tables, "one seed": {7: tables[1]}, "symmetry": {s: trained(tables[0], s + 9) for s in tables}}
    table = compare_arms(rows, metrics=("accuracy", "qwk"), draws=100)
    assert list(table.columns) == [
        "row", "metric", "value", "low", "high", "seed_sd", *DIFFERENCES, "p", "p_holm", "p_mcnemar",
        "n_seeds", "n_knees", "n_patients", "baseline",
    ]  # fmt: skip
    assert list(zip(table["row"], table["metric"], strict=True)) == [(r, m) for r in rows for m in ("accuracy", "qwk")]
    columns = ["metric", "value", "low", "high", "seed_sd", "n_seeds", "n_knees", "n_patients"]
    for row in rows:
        own = table.loc[table["row"] == row, columns].reset_index(drop=True)
        expected = seed_intervals(rows[row], metrics=("accuracy", "qwk"), draws=100)[columns]
        np.testing.assert_array_equal(own.iloc[:, 1:].to_numpy(float), expected.iloc[:, 1:].to_numpy(float))
    assert table.loc[table["row"] == "plain", [*DIFFERENCES, "p", "p_holm", "p_mcnemar"]].isna().all(axis=None)
    assert by_row(table, "qwk")["p_mcnemar"].isna().all()
    assert list(by_row(table, "qwk")["n_seeds"]) == [3, 1, 3]
    assert set(table["baseline"]) == {"plain"}


def test_p_is_corrected_over_the_rows_within_each_metric(predictions):
    rows = {f"row {place}": {0: trained(predictions, place, 0.3 + 0.03 * place)} for place in range(5)}
    table = compare_arms(rows, draws=300)
    known = table.dropna(subset="p")
    assert (known["p_holm"] >= known["p"]).all()
    assert (known["p_holm"] > known["p"]).any()
    for _, own in known.groupby("metric"):
        assert list(own["p_holm"]) == list(holm(own["p"]))


def test_holms_correction_by_hand():
    found = holm([0.01, np.nan, 0.04, 0.03, 0.005])
    # in order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, which may not fall below the one before
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06, 0.02])
    assert list(holm([0.7, 0.6])) == [1, 1]
    assert len(holm([])) == 0


def test_seed_values_are_the_metrics_of_each_training(tables):
    table = seed_values({"plain": tables, "other": {4: tables[2]}}, ("accuracy", "auc_kl2"))
    assert list(table.columns) == ["row", "seed", "metric", "value"]
    assert len(table) == 8
    own = table.set_index(["row", "seed", "metric"])["value"]
    for seed in tables:
        for name in ("accuracy", "auc_kl2"):
            assert own["plain", seed, name] == pytest.approx(compute_metrics(tables[seed])[name])
    assert own["other", 4, "accuracy"] == own["plain", 2, "accuracy"]


def test_what_cannot_be_compared_is_refused(tables):
    fewer = {0: tables[0].iloc[1:]}
    regraded, moved = {0: tables[0].assign(kl=(tables[0]["kl"] + 1) % 5)}, {0: tables[0].assign(patient="one")}
    for wrong, message in (
        (lambda: compare_arms({}), "no row"),
        (lambda: seed_values({}), "no row"),
        (lambda: compare_arms({"plain": tables, "empty": {}}), "no seed"),
        (lambda: seed_intervals({}), "no seed"),
        (lambda: compare_arms({"plain": tables[0]}), "by seed, not DataFrame"),
        (lambda: compare_arms({"plain": {"0": tables[0]}}), "whole number"),
        (lambda: compare_arms({"plain": tables}, baseline="paper"), "no 'paper'"),
        (lambda: compare_arms({"plain": tables, "fewer": fewer}), "fewer, seed 0"),
        (lambda: seed_intervals(tables | fewer), "in one table"),
        (lambda: compare_arms({"plain": tables, "regraded": regraded}), "another kl"),
        (lambda: compare_arms({"plain": tables, "moved": moved}), "another patient"),
        (lambda: compare_arms({"plain": tables}, metrics=("f2",)), "no metric 'f2'"),
        (lambda: seed_values({"plain": tables}, ("f2",)), "no metric 'f2'"),
        (lambda: seed_intervals(tables, draws=0), "0 draws"),
        (lambda: compare_arms({"plain": tables}, level=2), "level"),
    ):
        with pytest.raises(KoaError, match=message):
            wrong()


@pytest.fixture
def rows(make_predictions):
    knees = make_predictions(150, seed=2)
    shares = {"random-flip": 0.4, "good": 0.1, "bad": 0.7, "alike": 0.4}
    return {
        row: {seed: trained(knees, 10 * seed + place, share) for seed in range(3)}
        for place, (row, share) in enumerate(shares.items())
    }


def sentences_on(rows, metric="accuracy"):
    table = compare_arms(rows, baseline="random-flip", metrics=(metric,), draws=400)
    sentences = draw_conclusions(table, metric)
    return {sentence.split(":")[0]: sentence for sentence in sentences}


def test_a_row_that_errs_less_is_better_one_that_errs_more_worse_and_one_alike_is_left_open(rows):
    found = sentences_on(rows)
    assert found["good"].startswith("good: better by +")
    assert found["bad"].startswith("bad: worse by -")
    assert found["alike"].startswith("alike: no difference could be told")
    assert found["Counted"] == "Counted: 3 trainings a row, 300 knees of 150 patients."


def test_a_sentence_holds_the_difference_and_its_interval(rows):
    table = compare_arms(rows, baseline="random-flip", metrics=("accuracy",))
    good = table[table["row"] == "good"].iloc[0]
    assert good["p"] == 2 / 2001
    assert good["p_mcnemar"] < 0.01
    ends = [f"{100 * good[name]:+.1f}" for name in ("difference", "difference_low", "difference_high")]
    assert "{} points ({} to {})".format(*ends) in draw_conclusions(table)[1]
    assert outcome(good) == "better"


def test_a_larger_error_in_grades_is_worse_and_the_first_line_says_what_is_compared(rows):
    found = sentences_on(rows, "mae")
    assert "better by -" in found["good"]
    assert "worse by +" in found["bad"]
    assert next(iter(found)) == "Mean absolute error (grades), each row beside random-flip"


def test_an_interval_beyond_0_is_no_verdict_when_many_rows_were_tried(rows):
    table = compare_arms(rows, baseline="random-flip", metrics=("accuracy",))
    sentence = draw_conclusions(table.assign(p_holm=0.08))[1]
    assert "no difference" in sentence
    assert "leaves out 0" in sentence


@pytest.mark.parametrize(("seeds", "warned"), [(1, "with one training"), (2, "2 trainings a row are few"), (3, None)])
def test_fewer_than_three_trainings_are_warned_of(rows, seeds, warned):
    few = {row: {seed: tables[seed] for seed in range(seeds)} for row, tables in rows.items()}
    sentences = draw_conclusions(compare_arms(few, baseline="random-flip", draws=200))
    few_or_one = [text for text in sentences if "with one training" in text or "are few" in text]
    assert [warned in text for text in few_or_one] == ([True] if warned else [])


def test_rows_whose_trainings_differ_more_than_patients_do_are_named(make_predictions):
    knees = make_predictions(400, seed=4)
    wild = {seed: trained(knees, seed, wrong) for seed, wrong in enumerate((0.1, 0.4, 0.7))}
    steady = {seed: trained(knees, 9 + seed, 0.4) for seed in range(3)}
    calm = {seed: trained(knees, 19 + seed, 0.3) for seed in range(3)}
    rows = {"random-flip": steady, "wild": wild, "calm": calm}
    noisy = [text for text in draw_conclusions(compare_arms(rows, draws=400)) if "trainings differ" in text]
    assert len(noisy) == 1
    assert "wild" in noisy[0]
    assert "25% of cases" in noisy[0]


def test_a_metric_no_knee_can_tell_is_said_to_be_so_one_not_compared_and_a_row_alone_are_refused(rows):
    normal = {row: {seed: table[table["kl"] == 0] for seed, table in tables.items()} for row, tables in rows.items()}
    assert "cannot be compared" in sentences_on(normal, "kl1_recall")["good"]
    table = compare_arms(rows, baseline="random-flip", metrics=("accuracy",), draws=50)
    with pytest.raises(KoaError, match="qwk"):
        draw_conclusions(table, "qwk")
    with pytest.raises(KoaError, match="two rows"):
        draw_conclusions(table[table["row"] == "random-flip"])
