"""Readers of phantom knees: how they err, how far they agree, and how likely each grade is."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.features import RANGES, SIGNS, Rules, Signs, kl_grades
from koa_kit.phantom.population.sampling import sample_habit, sample_signs, signs_at
from koa_kit.phantom.readers.readers import (
    READER_COLUMNS,
    READERS,
    Reader,
    agreement,
    consensus,
    consensus_probabilities,
    grade_probabilities,
    read,
    reading_errors,
    readings,
)

FAULTLESS = Reader("faultless", Rules(), 0, 0, 0, 0)
ODD_LIMITS = Rules(2.0, 2.0, 1.9, possible=1.0, present=1.0, large=1.1, some_sclerosis=1.5, severe_sclerosis=1.5)
ODD = Reader("odd", ODD_LIMITS, 0.4, 0.6, 0.2, 0.5)

knees = st.fixed_dictionaries({name: st.floats(*RANGES[name]) for name in SIGNS})
errors_of_a_knee = st.lists(st.floats(-4, 4), min_size=4, max_size=4)
any_reader = st.sampled_from([*READERS.values(), FAULTLESS, ODD])


@settings(max_examples=100)
@given(knee=knees)
def test_a_reader_without_errors_who_keeps_the_rules_gives_the_grade_of_the_rules(knee):
    signs = pd.DataFrame([knee])
    assert read(signs, FAULTLESS, np.ones((1, 4))) == kl_grades(signs)


@settings(max_examples=100)
@given(knee=knees, step=knees, errors=errors_of_a_knee, who=any_reader)
def test_worse_signs_never_lower_a_reading_with_the_same_errors(knee, step, errors, who):
    worse = {
        name: max(0, knee[name] - step[name]) if name.startswith("jsw") else min(3, knee[name] + step[name])
        for name in SIGNS
    }
    before, after = read(pd.DataFrame([knee, worse]), who, np.array([errors, errors]))
    assert after >= before


@settings(max_examples=100)
@given(knee=knees, errors=errors_of_a_knee, who=any_reader)
def test_cutting_what_is_perceived_to_the_range_of_the_sign_changes_no_grade(knee, errors, who):
    width, osteophytes, sclerosis, deformity = np.array(errors) * who.noise
    shift = {"jsw": width, "osteophyte": osteophytes, "sclerosis": sclerosis, "deformity": deformity}
    cut = {name: np.clip(knee[name] + shift[name.split("_")[0]], *RANGES[name]) for name in SIGNS}
    assert read(pd.DataFrame([knee]), who, np.array([errors])) == kl_grades(pd.DataFrame([cut]), who.rules)


def test_each_error_shifts_its_own_signs_only():
    narrow = pd.concat([Signs(jsw_medial_mm=3.9).as_table()] * 4)
    # One standard deviation too narrow is doubtful for A; a wrong look at anything else leaves the knee at 0.
    assert read(narrow, READERS["A"], -np.eye(4)).tolist() == [1, 0, 0, 0]
    lipping = narrow.assign(osteophyte_lateral_tibia=0.9, jsw_medial_mm=5.0)
    assert read(lipping, READERS["A"], np.eye(4)).tolist() == [1, 2, 1, 1]


def test_a_knee_seen_again_with_its_errors_keeps_its_grade_or_progresses():
    rng = np.random.default_rng(3)
    habit, severity, errors = sample_habit(500, rng), rng.uniform(0, 4, 500), reading_errors(500, rng)
    first = readings(signs_at(severity, habit), errors)
    assert first.equals(readings(signs_at(severity, habit), errors))
    later = readings(signs_at(severity + 0.7, habit), errors)
    assert (later >= first).all(axis=None)
    assert (later > first).any(axis=None)
    assert (consensus(later) >= consensus(first)).all()


@pytest.mark.parametrize("who", [*READERS.values(), ODD], ids=lambda who: who.name)
def test_the_probability_of_each_grade_is_the_share_of_many_readings(who):
    rng, draws = np.random.default_rng(5), 20_000
    signs = sample_signs(np.repeat(np.arange(5) + 0.5, 6), rng)
    expected = grade_probabilities(signs, who)
    again = signs.loc[signs.index.repeat(draws)]
    grades = read(again, who, rng.standard_normal((len(again), 4))).reshape(len(signs), draws)
    assert_shares(grades, expected)


def test_the_probability_of_each_consensus_is_the_share_of_many_medians():
    rng, draws = np.random.default_rng(6), 10_000
    signs = sample_signs(np.repeat(np.arange(5) + 0.5, 6), rng)
    again = signs.loc[signs.index.repeat(draws)].reset_index(drop=True)
    grades = consensus(readings(again, reading_errors(len(again), rng))).reshape(len(signs), draws)
    assert_shares(grades, consensus_probabilities(signs))


def assert_shares(grades, expected):
    """Shares among the draws of each row lie within 4 standard errors, and the step of one draw, of the expected."""
    draws = grades.shape[1]
    share = (grades[:, :, None] == np.arange(5)).mean(axis=1)
    assert (np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws) + 1 / draws).all()


@settings(max_examples=100)
@given(knee=knees, who=any_reader)
def test_probabilities_of_a_knee_sum_to_one(knee, who):
    signs = pd.DataFrame([knee])
    for probability in (grade_probabilities(signs, who), consensus_probabilities(signs)):
        assert probability.shape == (1, 5)
        assert ((probability >= 0) & (probability <= 1)).all()
        assert probability.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("names", ["A", "ABC", "ABCBA"])
def test_the_median_of_any_odd_number_of_readers_is_that_of_all_their_combinations(names, signs_of):
    signs = signs_of("balanced", 20)
    panel = {str(seat): READERS[name] for seat, name in enumerate(names)}
    single = [grade_probabilities(signs, one) for one in panel.values()]
    expected = np.zeros((len(signs), 5))
    for grades in product(range(5), repeat=len(names)):
        chance = np.prod([alone[:, grade] for alone, grade in zip(single, grades, strict=True)], axis=0)
        expected[:, sorted(grades)[len(names) // 2]] += chance
    assert consensus_probabilities(signs, panel) == pytest.approx(expected, abs=1e-12)


def test_b_calls_osteophytes_early_and_c_late_but_narrowing_earlier_than_a():
    lipping, narrowing = Signs(5.0, osteophyte_medial_tibia=0.95).as_table(), Signs(3.65).as_table()
    definite = {name: grade_probabilities(lipping, one)[0, 2:].sum() for name, one in READERS.items()}
    assert definite["B"] > definite["A"] > definite["C"]
    assert grade_probabilities(narrowing, READERS["C"])[0, 0] < grade_probabilities(narrowing, READERS["A"])[0, 0]


def test_errors_of_different_readers_and_signs_are_independent():
    errors = reading_errors(20_000, np.random.default_rng(0))
    assert errors.shape == (3, 20_000, 4)
    flat = np.moveaxis(errors, 1, 0).reshape(20_000, 12)
    assert np.abs(np.corrcoef(flat.T) - np.eye(12)).max() < 5 / 20_000**0.5


def test_readings_keep_the_order_of_readers_and_the_index_of_the_knees(signs_of):
    signs = signs_of("oai", 30).set_axis([f"K{row}" for row in range(30)])
    errors = reading_errors(30, np.random.default_rng(0))
    table = readings(signs, errors)
    assert tuple(table.columns) == READER_COLUMNS == ("reader_A", "reader_B", "reader_C")
    assert table.index.equals(signs.index)
    for layer, name in enumerate(READERS):
        assert np.array_equal(table[f"reader_{name}"], read(signs, READERS[name], errors[layer]))


def test_the_consensus_is_the_middle_grade_and_an_even_number_of_readers_has_none(signs_of):
    assert consensus(np.array([[0, 2, 1], [4, 4, 0], [3, 3, 3]])).tolist() == [1, 4, 3]
    assert consensus(pd.DataFrame({"reader_A": [2]})).tolist() == [2]
    for shape in ((3, 2), 3, (3, 0)):
        with pytest.raises(KoaError, match="no middle one"):
            consensus(np.ones(shape, int))
    with pytest.raises(KoaError, match="no middle one"):
        consensus_probabilities(signs_of("oai", 3), {name: READERS[name] for name in "AB"})


def test_agreement_weighs_a_disagreement_by_its_square():
    a, b = np.random.default_rng(0).integers(0, 5, (2, 200))
    confusion = pd.crosstab(a, b).to_numpy()
    by_chance = np.outer(confusion.sum(1), confusion.sum(0)) / 200
    squares = np.subtract.outer(range(5), range(5)) ** 2
    row = agreement(pd.DataFrame({"kl": a, "reader_A": a, "reader_B": b})).iloc[0]
    assert row[["reader", "other", "n"]].tolist() == ["A", "B", 200]
    assert row["kappa"] == pytest.approx(1 - (squares * confusion).sum() / (squares * by_chance).sum())
    assert row["exact"] == pytest.approx(np.trace(confusion) / 200)


def test_agreement_on_knees_all_called_the_same_is_undefined_and_one_reader_has_none():
    row = agreement(pd.DataFrame({"reader_A": [0, 0], "reader_B": [0, 0]})).iloc[0]
    assert np.isnan(row["kappa"])
    assert row["exact"] == 1
    with pytest.raises(KoaError, match="fewer than two readers"):
        agreement(pd.DataFrame({"reader_A": [0], "kl": [1]}))


def test_impossible_readers_are_refused():
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(KoaError, match="sclerosis_noise is"):
            Reader("impossible", Rules(), 0.1, 0.1, noise, 0.1)
    for rules in (Rules(possible=1.2), Rules(marked_mm=3.0), Rules(some_sclerosis=2.5)):
        with pytest.raises(KoaError, match="not in order"):
            Reader("impossible", rules, 0.1, 0.1, 0.1, 0.1)


def test_knees_without_known_signs_and_errors_that_do_not_fit_them_are_refused(signs_of):
    signs = signs_of("oai", 3)
    unknown = signs.assign(sclerosis=[0.1, np.nan, 0.2])
    for table in (signs.drop(columns="sclerosis"), unknown):
        with pytest.raises(KoaError, match="sclerosis"):
            read(table, READERS["A"], np.zeros((3, 4)))
        with pytest.raises(KoaError, match="sclerosis"):
            consensus_probabilities(table)
    for shape in ((2, 4), (3, 3), (3,)):
        with pytest.raises(KoaError, match="do not fit"):
            read(signs, READERS["A"], np.zeros(shape))
