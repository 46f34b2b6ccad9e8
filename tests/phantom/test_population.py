"""Phantom patients: signs follow severity, grades come in the promised shares, knees grow worse but never better."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koa_kit.errors import KoaError
from koa_kit.phantom.cohort import phantom_cohort
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, RANGES, SIGNS, Signs, kl_grade, kl_grades, summary_signs
from koa_kit.phantom.knee.records import Build, Exposure
from koa_kit.phantom.population.population import SHARES, VISITS, band_weights, sample_population, shares_of
from koa_kit.phantom.population.sampling import sample_features, sample_habit, sample_signs, signs_at
from koa_kit.phantom.readers.bounds import noise_ceiling
from koa_kit.phantom.readers.readers import READER_COLUMNS, agreement, consensus_probabilities

SEEDS = st.integers(0, 2**32 - 1)
LATER = [f"kl_{month}" for month in VISITS if month]


@pytest.fixture(scope="module")
def knees():
    """Knees of 2,000 patients for each named set of shares."""
    return {name: sample_population(2000, seed=1, shares=name) for name in SHARES}


@pytest.fixture(scope="module")
def many():
    """Knees of 8,000 patients graded as often as in oai-kl224, for rates that scatter much."""
    return sample_population(8000, seed=2, shares="oai")


def pairs(table: pd.DataFrame, column: str = "kl") -> np.ndarray:
    """Left and right value of every patient."""
    return table[column].to_numpy().reshape(-1, 2)


@given(seed=SEEDS, severities=st.lists(st.floats(0, 5), min_size=2, max_size=6))
@settings(deadline=None, max_examples=40)
def test_no_sign_is_better_at_a_greater_severity(seed, severities):
    habit = sample_habit(20, np.random.default_rng(seed))
    course = [signs_at(np.full(20, severity), habit) for severity in sorted(severities)]
    for earlier, later in pairwise(course):
        widths = ["jsw_medial_mm", "jsw_lateral_mm"]
        assert (later[widths] <= earlier[widths]).all(axis=None)
        worse = [name for name in SIGNS if not name.startswith("jsw")]
        assert (later[worse] >= earlier[worse]).all(axis=None)
        bent = (later["valgus_deg"] - earlier["valgus_deg"]) * np.where(habit["medial"], -1, 1)
        assert (bent >= 0).all()
        assert (kl_grades(later) >= kl_grades(earlier)).all()


@given(seed=SEEDS, severity=st.floats(0, 5))
@settings(deadline=None, max_examples=40)
def test_every_sampled_knee_is_a_possible_knee(seed, severity):
    signs = sample_signs(np.full(10, severity), np.random.default_rng(seed))
    assert list(signs) == list(RANGES)
    assert signs.equals(signs.round(2))
    for row in signs.to_dict("records"):
        Signs(**row)


def test_a_typical_knee_of_each_grade_has_these_signs():
    habit = sample_habit(5, np.random.default_rng(0))
    habit.loc[:, [name for name in habit if name.endswith("_lead")]] = 0.0
    signs = signs_at(np.arange(5) + 0.5, habit)
    width, largest, _ = summary_signs(signs)
    np.testing.assert_allclose(width, [4.4, 3.75, 3.2, 2.0, 0.5], atol=1e-9)
    np.testing.assert_allclose(largest, [0.05, 0.65, 1.55, 2.1, 2.8], atol=1e-9)
    assert signs["sclerosis"].tolist() == [0.1, 0.3, 0.7, 1.7, 2.8]
    assert signs["deformity"].tolist() == [0.0, 0.0, 0.0, 0.6, 2.2]
    assert kl_grades(signs).tolist() == [0, 1, 2, 3, 4]


def test_some_knees_narrow_without_osteophytes_others_do_the_reverse_and_one_compartment_is_spared():
    width, largest, _ = summary_signs(sample_signs(np.linspace(0.8, 1.8, 4000), np.random.default_rng(0)))
    assert ((width < 3.6) & (largest < 0.5)).mean() > 0.05
    assert ((width >= 3.6) & (largest >= 0.5)).mean() > 0.05
    signs = sample_signs(np.full(2000, 4.5), np.random.default_rng(0))
    wider = np.maximum(signs["jsw_medial_mm"], signs["jsw_lateral_mm"] - LATERAL_SURPLUS_MM)
    assert wider.median() > 3.5
    assert wider.quantile(0.02) > 2.5


def test_medial_disease_bows_the_leg_and_lateral_disease_knocks_the_knee():
    habit = sample_habit(4000, np.random.default_rng(0))
    healthy, severe = (signs_at(np.full(4000, severity), habit)["valgus_deg"] for severity in (0.2, 4.7))
    medial = habit["medial"]
    assert abs(healthy.mean() - 5) < 0.2
    assert abs(healthy.std() - 2) < 0.2
    assert severe[medial].mean() < -1
    assert severe[~medial].mean() > 9


def test_the_two_knees_of_a_person_have_a_like_habit():
    rng = np.random.default_rng(0)
    one = sample_habit(4000, rng)
    other = sample_habit(4000, rng, other_knee=one)
    for name in ("width_lead", "osteophytes_lead", "spared_mm", "healthy_valgus_deg"):
        assert 0.75 < np.corrcoef(one[name], other[name])[0, 1] < 0.85
        assert abs(other[name].std() / one[name].std() - 1) < 0.06
    assert 0.85 < (one["medial"] == other["medial"]).mean() < 0.97
    assert abs(other["medial"].mean() - 0.7) < 0.04


@given(grade=st.integers(0, 4), seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_a_sampled_knee_has_the_grade_asked_for(grade, seed):
    knee = sample_features(grade, np.random.default_rng(seed))
    assert kl_grade(knee) == grade
    assert knee == sample_features(grade, np.random.default_rng(seed))
    exposure, build = Exposure(blur=2.0), Build(bone_width=1.1)
    other = sample_features(grade, np.random.default_rng(seed), exposure=exposure, build=build)
    assert (other.exposure, other.build) == (exposure, build)


def test_a_knee_needs_a_grade_that_exists_and_signs_one_possible_severity_per_knee():
    rng = np.random.default_rng(0)
    for grade in (5, -1, 1.5, "two"):
        with pytest.raises(KoaError, match="There is no KL grade"):
            sample_features(grade, rng)
    for severity in ([1.0], [1.0, 5.1], [-0.1, 1.0], [np.nan, 1.0], 1.0):
        with pytest.raises(KoaError, match=r"[Ss]everit"):
            signs_at(severity, sample_habit(2, rng))


@pytest.mark.parametrize("shares", [*SHARES, (0.1, 0.15, 0.3, 0.25, 0.2)])
def test_consensus_grades_come_in_the_shares_asked_for(knees, shares):
    table = knees[shares] if shares in SHARES else sample_population(2000, seed=4, shares=shares)
    drawn = np.bincount(table["kl"], minlength=5) / len(table)
    np.testing.assert_allclose(drawn, SHARES.get(shares, shares), atol=0.02)
    weights = band_weights(shares_of(shares))
    assert (weights == weights.round(4)).all()
    assert (weights >= 0).all()
    assert abs(weights.sum() - 1) < 0.0005


def test_shares_no_mix_of_severities_gives_are_met_as_nearly_as_possible():
    drawn = np.bincount(sample_population(500, shares=(0, 1, 0, 0, 0))["kl"], minlength=5) / 1000
    assert drawn.argmax() == 1
    assert drawn[3:].sum() < 0.02


def test_shares_must_be_a_known_name_or_five_numbers_that_sum_to_one():
    wrong = (0.5, 0.5), (0.2, 0.2, 0.2, 0.2, 0.3), (0.5, 0.6, -0.1, 0, 0), (np.nan, 0.25, 0.25, 0.25, 0.25)
    for shares in ("real", *wrong, 0.2, tuple("abcde")):
        with pytest.raises(KoaError, match="shares"):
            shares_of(shares)


def test_two_knees_are_as_alike_as_in_oai_kl224_and_no_side_is_worse_unless_asked_for(many):
    apart = np.abs(np.diff(pairs(many), axis=1))
    assert abs((apart == 0).mean() - 0.54) < 0.03
    assert abs((apart <= 1).mean() - 0.82) < 0.03
    left, right = pairs(many).T
    higher, lower = (right > left).sum(), (right < left).sum()
    assert abs(higher - lower) < 4 * np.sqrt(higher + lower)


def test_asymmetry_makes_the_right_knee_the_worse_one():
    def right_is_better(asymmetry):
        left, right = pairs(sample_population(1000, seed=3, asymmetry=asymmetry)).T
        return (right < left).mean()

    chance, half, full = (right_is_better(asymmetry) for asymmetry in (0, 0.5, 1))
    assert chance > 0.2
    assert 0.4 * chance < half < 0.6 * chance
    assert full == 0


def test_asymmetry_exchanges_sides_and_nothing_else():
    by_chance, right_worse = (sample_population(200, seed=3, asymmetry=asymmetry) for asymmetry in (0, 1))
    own = ["patient", "kl", *READER_COLUMNS, *SIGNS, "draw_seed", *LATER]
    order = ["patient", "draw_seed"]
    pd.testing.assert_frame_equal(
        by_chance[own].sort_values(order, ignore_index=True), right_worse[own].sort_values(order, ignore_index=True)
    )
    assert not by_chance[own].equals(right_worse[own])


@pytest.mark.parametrize("name", SHARES)
def test_readers_agree_well_but_not_perfectly_and_least_about_kl1(knees, name):
    table = knees[name]
    agreed = agreement(table)
    assert agreed[["reader", "other"]].to_numpy().tolist() == [["A", "B"], ["A", "C"], ["B", "C"]]
    assert agreed["kappa"].between(0.75, 0.90).all()
    disagree = table[list(READER_COLUMNS)].nunique(axis=1) > 1
    for grade in ("kl", "kl_rules"):
        assert disagree.groupby(table[grade]).mean().idxmax() == 1
    best = noise_ceiling(consensus_probabilities(table[list(SIGNS)]))
    assert 0.80 < best.accuracy < 0.88
    assert best.kl1_recall == min(best.recall)


def test_the_grade_is_the_middle_one_of_the_readers(knees):
    table = knees["teaching"]
    assert (table["kl"] == table[list(READER_COLUMNS)].median(axis=1)).all()
    assert (table["kl_rules"] == kl_grades(table)).all()
    assert 0.7 < (table["kl"] == table["kl_rules"]).mean() < 0.9


def test_grades_never_fall_and_in_four_years_most_stay_and_one_doubtful_knee_in_five_has_osteoarthritis(many):
    assert (many[["kl", *LATER]].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    arisen = (many["kl_48"] >= 2).groupby(many["kl"]).mean()
    assert abs(arisen[1] - 0.20) < 0.03
    assert 0.02 < arisen[0] < 0.06
    assert (many["kl_48"] == many["kl"]).mean() > 0.75


@pytest.mark.parametrize("months", VISITS[1:])
def test_a_later_visit_sees_the_same_patients(months):
    first = sample_population(100, seed=6, asymmetry=0.4)
    later = sample_population(100, seed=6, asymmetry=0.4, months=months)
    same = ["knee_id", "patient", "side", "split", "sex", "bmi", "site", "inverted", "draw_seed"]
    pd.testing.assert_frame_equal(first[same], later[same])
    assert (later["age"] - first["age"] == months // 12).all()
    assert (later["kl"] == first[f"kl_{months}"]).all()
    assert [name for name in later if name in LATER] == [f"kl_{month}" for month in VISITS if month > months]
    assert (later["jsw_medial_mm"] <= first["jsw_medial_mm"]).all()
    assert (later["jsw_medial_mm"] < first["jsw_medial_mm"]).any()


def test_every_patient_has_a_left_and_a_right_knee_in_one_split_of_60_20_20_and_equal_severity(knees):
    table = knees["teaching"]
    assert table["knee_id"].is_unique
    assert (table["knee_id"] == table["patient"] + table["side"]).all()
    assert table["side"].tolist() == ["L", "R"] * 2000
    assert table["knee_id"].iloc[[0, 1, -1]].tolist() == ["P00000L", "P00000R", "P01999R"]
    for column in ("split", "age", "sex", "bmi", "site", "inverted"):
        assert (table.groupby("patient")[column].nunique() == 1).all()
    assert table["draw_seed"].between(0, 2**31 - 1).all()
    assert table["split"].value_counts().to_dict() == {"train": 2400, "val": 800, "test": 800}
    grades = pd.crosstab(table["split"], table["kl"], normalize="index")
    assert (grades.max() - grades.min() < 0.05).all()


def test_few_patients_have_inverted_films():
    for patients, inverted in ((1, 0), (9, 0), (10, 1), (100, 2), (2000, 30)):
        assert sample_population(patients)["inverted"].sum() == 2 * inverted


def test_ill_people_are_a_little_older_and_heavier(knees):
    table = knees["teaching"]
    assert table["age"].between(45, 79).all()
    assert table["age"].dtype == int
    assert set(table["sex"]) == {"F", "M"}
    assert set(table["site"]) == set("ABCDE")
    assert abs((table["sex"] == "F").mean() - 0.58) < 0.04
    for column in ("age", "bmi"):
        assert 0.1 < np.corrcoef(table[column], table["kl"])[0, 1] < 0.4


@pytest.mark.parametrize(
    ("shortcut", "healthy", "ill", "tolerance"),
    [
        (0, 0.03, 0.03, 4 * np.sqrt(0.03 * 0.97 / 7000)),
        (0.4, 0.3, 0.7, 0.04),
        (0.9, 0.05, 0.95, 0.04),
        (1, 0, 1, 1e-12),
    ],
)
def test_a_marker_tells_nothing_unless_a_shortcut_ties_it_to_disease(shortcut, healthy, ill, tolerance):
    table = sample_population(2000 if shortcut else 8000, seed=5, shortcut=shortcut)
    by_disease = table["marker"].groupby(table["kl"] >= 2).mean()
    assert list(by_disease.index) == [False, True]
    assert abs(by_disease - [healthy, ill]).max() < tolerance


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"patients": 0}, "no knees"),
        ({"months": 18}, "no visit at 18 months"),
        ({"shares": "real"}, "shares"),
        ({"asymmetry": 1.1}, "asymmetry is 1.1"),
        ({"shortcut": -0.1}, "shortcut is -0.1"),
        ({"shortcut": float("nan")}, "shortcut is nan"),
    ],
)
def test_a_population_that_cannot_be_says_why(arguments, what):
    for sample in (sample_population, phantom_cohort):
        with pytest.raises(KoaError, match=what):
            sample(**({"patients": 5} | arguments))
