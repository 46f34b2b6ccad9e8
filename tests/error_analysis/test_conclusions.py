"""Sentences about rows of a grid: none says more than the intervals and the seeds allow."""

import pytest
from simulated_predictions import trained

from koa_kit.error_analysis.statistics.conclusions import draw_conclusions, outcome
from koa_kit.error_analysis.statistics.seeds import compare_arms
from koa_kit.errors import KoaError


@pytest.fixture
def rows(make_predictions):
    knees = make_predictions(150, seed=2)
    shares = {"random-flip": 0.4, "good": 0.1, "bad": 0.7, "alike": 0.4}
    return {
        row: {seed: trained(knees, 10 * seed + place, share) for seed in range(3)}
        for place, (row, share) in enumerate(shares.items())
    }


def told(rows, metric="accuracy", **options):
    table = compare_arms(rows, baseline="random-flip", metrics=(metric,), draws=400, **options)
    sentences = draw_conclusions(table, metric)
    return {sentence.split(":")[0]: sentence for sentence in sentences}


def test_a_row_that_errs_less_is_better_one_that_errs_more_worse_and_one_alike_is_left_open(rows):
    found = told(rows)
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
    found = told(rows, "mae")
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


def test_a_metric_no_knee_can_tell_is_said_to_be_so(rows):
    normal = {row: {seed: table[table["kl"] == 0] for seed, table in tables.items()} for row, tables in rows.items()}
    assert "cannot be compared" in told(normal, "kl1_recall")["good"]


def test_a_metric_that_was_not_compared_or_a_row_alone_is_refused(rows):
    table = compare_arms(rows, baseline="random-flip", metrics=("accuracy",), draws=50)
    with pytest.raises(KoaError, match="qwk"):
        draw_conclusions(table, "qwk")
    with pytest.raises(KoaError, match="two rows"):
        draw_conclusions(table[table["row"] == "random-flip"])
