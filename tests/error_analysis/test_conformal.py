"""A set of neighbouring grades holds the reader's grade as often as promised: over new patients, not in each grade."""

from itertools import pairwise

import numpy as np
import pytest

from koa_kit.error_analysis.decisions.conformal import calibrate, calibration_half, conformal_sets, conformal_table
from koa_kit.error_analysis.decisions.figures import conformal_figure
from koa_kit.error_analysis.predictions import probabilities
from koa_kit.errors import KoaError


def some_probabilities(knees, seed=0, sharpness=0.7):
    return np.random.default_rng(seed).dirichlet(np.full(5, sharpness), knees)


def knees_of_a_wrong_model(rng, knees):
    """Probabilities, and grades drawn from others: the model is too sure and leans to severe grades."""
    severity = rng.normal(1.5, 1.3, (knees, 1))
    true, said = (np.exp(-(abs(severity + lean - np.arange(5)) ** 2) * sharp) for lean, sharp in ((0, 0.7), (0.4, 1.3)))
    true, said = (values / values.sum(1, keepdims=True) for values in (true, said))
    return said, (rng.random((knees, 1)) > true.cumsum(1)[:, :-1]).sum(1)


def set_by_hand(p, quantile):
    """One knee: take the most likely grade, then the more probable neighbour, until the mass is above the quantile."""
    low = high = max(range(5), key=lambda grade: (p[grade], -grade))
    mass = p[low]
    while mass <= quantile and high - low < 4:
        if high == 4 or (low > 0 and p[low - 1] >= p[high + 1]):
            low -= 1
            mass += p[low]
        else:
            high += 1
            mass += p[high]
    return low, high


@pytest.mark.parametrize("quantile", [0, 0.31, 0.5, 0.77, 0.9, 0.99])
def test_sets_are_those_grown_grade_by_grade(quantile):
    p = some_probabilities(400)
    low, high = conformal_sets(p, quantile)
    assert list(zip(low, high, strict=True)) == [set_by_hand(row, quantile) for row in p]


def test_equal_neighbours_are_taken_from_the_milder_side_and_a_sure_knee_keeps_one_grade_short_of_all():
    p = np.array([[0.1, 0.2, 0.4, 0.2, 0.1], [0.4, 0.4, 0.1, 0.05, 0.05]])
    assert list(zip(*conformal_sets(p, 0.45), strict=True)) == [(1, 2), (0, 1)]
    sure = np.eye(5)[[0, 1, 4]]
    for quantile, size in ((0, 1), (0.999, 1), (1, 5)):
        low, high = conformal_sets(sure, quantile)
        assert (high - low + 1 == size).all()


def test_promising_more_never_shrinks_a_set():
    rng = np.random.default_rng(2)
    p, kl = knees_of_a_wrong_model(rng, 300)
    fresh = some_probabilities(200, seed=3)
    sets = [conformal_sets(fresh, calibrate(p, kl, coverage)) for coverage in (0.3, 0.6, 0.8, 0.9, 0.97, 0.999)]
    for (low, high), (lower, higher) in pairwise(sets):
        assert (lower <= low).all()
        assert (high <= higher).all()
    sizes = [(high - low + 1).mean() for low, high in sets]
    assert sizes[1] < sizes[3] < sizes[4] < sizes[5] == 5


@pytest.mark.parametrize(("knees", "coverage"), [(19, 0.9), (99, 0.9), (100, 0.8), (57, 0.75)])
def test_the_quantile_is_the_smallest_that_holds_one_knee_more_than_the_promise(knees, coverage):
    p, kl = knees_of_a_wrong_model(np.random.default_rng(knees), knees)
    wanted = -(-(knees + 1) * round(100 * coverage) // 100)
    quantile = calibrate(p, kl, coverage)
    for mass, enough in ((quantile, True), (np.nextafter(quantile, -1), False)):
        if mass < 0:
            continue
        low, high = conformal_sets(p, mass)
        assert (((low <= kl) & (kl <= high)).sum() >= wanted) is np.bool_(enough)


def test_too_few_knees_promise_all_five_grades_and_a_promise_below_the_accuracy_gives_single_ones():
    assert calibrate(some_probabilities(8), np.zeros(8, int), 0.9) == 1
    p = some_probabilities(200)
    kl = np.where(np.arange(200) % 10 < 8, p.argmax(1), (p.argmax(1) + 1) % 5)
    assert calibrate(p, kl, 0.7) == 0


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_of_new_knees_is_the_promise_although_the_model_is_wrong(coverage):
    """A calibration covers Beta(k, n + 1 - k) of new knees: their mean is k / (n + 1), here within four errors."""
    rng, n, new, draws = np.random.default_rng(11), 120, 400, 500
    told = []
    for _ in range(draws):
        p, kl = knees_of_a_wrong_model(rng, n + new)
        low, high = conformal_sets(p[n:], calibrate(p[:n], kl[:n], coverage))
        told.append(((low <= kl[n:]) & (kl[n:] <= high)).mean())
    mean = np.ceil((n + 1) * coverage) / (n + 1)
    error = np.sqrt(mean * (1 - mean) * (1 / (n + 2) + 1 / new) / draws)
    assert abs(np.mean(told) - mean) < 4 * error
    assert np.mean(told) > coverage - 4 * error


def test_two_equal_knees_of_a_patient_promise_no_more_than_the_documented_factor_allows():
    """The worst case, 21 patients each with one knee twice: rank 32 of 40 knees is rank 16 of 20 patients."""
    rng, coverage, draws = np.random.default_rng(12), 0.78, 4000
    p, kl = knees_of_a_wrong_model(rng, 21 * draws)
    p, kl = p.reshape(draws, 21, 5), kl.reshape(draws, 21)
    told = []
    for knees, grades in zip(p, kl, strict=True):
        low, high = conformal_sets(knees[20:], calibrate(knees[:20].repeat(2, 0), grades[:20].repeat(2), coverage))
        told.append(low[0] <= grades[20] <= high[0])
    error = np.sqrt(0.25 / draws)
    assert abs(np.mean(told) - 16 / 21) < 4 * error
    assert np.mean(told) > coverage * 41 / 42 - 4 * error


def test_the_same_patients_calibrate_on_every_machine_whoever_else_is_there_and_they_are_about_half(predictions):
    names = ["9000099", "9001104", "9001400", "9001695", "9002116", "9002430"]
    assert calibration_half(names).tolist() == [False, False, True, True, False, True]
    assert calibration_half([int(name) for name in names[1:]]).tolist() == [False, True, True, False, True]
    half = calibration_half(predictions["patient"])
    assert predictions.assign(half=half).groupby("patient")["half"].nunique().eq(1).all()
    assert np.array_equal(calibration_half(predictions["patient"][::-1]), half[::-1])
    assert abs(calibration_half(np.arange(4000)).mean() - 0.5) < 4 * np.sqrt(0.25 / 4000)


def test_the_table_judges_one_half_with_the_sets_of_the_other(predictions):
    table = conformal_table(predictions, 0.9, draws=50)
    half = calibration_half(predictions["patient"])
    p, kl = probabilities(predictions), predictions["kl"].to_numpy(int)
    quantile = calibrate(p[half], kl[half], 0.9)
    ranges = [set_by_hand(row, quantile) for row in p[~half]]
    for grade in (*range(5), None):
        sets = [(low, high, k) for (low, high), k in zip(ranges, kl[~half], strict=True) if grade in (None, k)]
        row = table.loc["all" if grade is None else f"KL{grade}"]
        assert row["knees"] == len(sets)
        assert row["size"] == pytest.approx(np.mean([high - low + 1 for low, high, _ in sets]))
        assert row["single"] == pytest.approx(np.mean([high == low for low, high, _ in sets]))
        assert row["coverage"] == pytest.approx(np.mean([low <= k <= high for low, high, k in sets]))
        assert row["low"] <= row["coverage"] <= row["high"]
    shuffled = conformal_table(predictions.sample(frac=1, random_state=0), 0.9, draws=50)
    assert shuffled.equals(table)


def test_the_grades_of_judged_knees_do_not_change_their_sets(predictions):
    judged = ~calibration_half(predictions["patient"])
    other = predictions.assign(kl=np.where(judged, 4 - predictions["kl"], predictions["kl"]))
    before, after = conformal_table(predictions, 0.8, draws=20), conformal_table(other, 0.8, draws=20)
    assert before.loc["all", "size"] == after.loc["all", "size"]
    assert before.loc["all", "coverage"] > after.loc["all", "coverage"]


def test_a_grade_no_judged_knee_has_is_told_as_unknown_in_table_and_figure(predictions):
    table = conformal_table(predictions[predictions["kl"] != 4], 0.9, draws=50)
    assert table.loc["KL4", "knees"] == 0
    assert table.loc["KL4", ["size", "single", "coverage", "low", "high"]].isna().all()
    texts = [text.get_text() for text in conformal_figure(table).axes[0].texts]
    assert texts.count("no such\nknee") == 1
    assert texts[-1] == f"{table.loc['all', 'coverage']:.0%}"


def test_no_number_of_the_set_figure_covers_another_or_the_promise(predictions):
    table = conformal_table(predictions, 0.8, draws=50)
    for lift in (0.05, 0.12):
        table["high"] = 0.8 + np.array([-0.1, -0.08, -0.05, -0.02, 0.01, 0]) + lift - 0.05
        figure = conformal_figure(table)
        figure.canvas.draw()
        left = figure.axes[0]
        boxes = [text.get_window_extent() for text in left.texts]
        assert not any(one.overlaps(two) for row, one in enumerate(boxes) for two in boxes[row + 1 :])
        line = left.transData.transform((0, 0.8))[1]
        assert not any(box.y0 < line < box.y1 for box in boxes)


def test_patients_that_all_fall_into_one_half_are_refused(predictions):
    half = calibration_half(predictions["patient"])
    for knees in (predictions[half], predictions[~half]):
        with pytest.raises(KoaError, match="one half"):
            conformal_table(knees, 0.9)


def test_what_is_no_coverage_mass_or_probability_is_refused(predictions):
    p, kl = some_probabilities(20), np.zeros(20, int)
    refused = [("grades", calibrate, p, kl[1:], 0.9)]
    for coverage in (0, 1, 90, np.nan):
        refused += [("coverage", calibrate, p, kl, coverage), ("coverage", conformal_table, predictions, coverage)]
    refused += [("mass", conformal_sets, p, quantile) for quantile in (-0.1, 1.1, np.nan)]
    refused += [("probabilit", conformal_sets, wrong, 0.5) for wrong in (p[:, :4], p * 2, p[:0], np.log(p))]
    for what, function, *values in refused:
        with pytest.raises(KoaError, match=what):
            function(*values)
