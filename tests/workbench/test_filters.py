"""A filter keeps the knees that meet every condition, says so in words, and refuses what a table cannot answer."""

import numpy as np
import pandas as pd
import pytest

from koa_kit.error_analysis.predictions import margin
from koa_kit.errors import KoaError
from koa_kit.workbench.selection.conditions import kind_of
from koa_kit.workbench.selection.filters import EXPOSURE_COLUMNS, Filters, exposure_column


@pytest.fixture
def knees(predictions):
    """120 knees with an exposure, an age that is missing for some, a site in words, and a flag with gaps."""
    rng = np.random.default_rng(8)
    n = len(predictions)
    return predictions.assign(
        split=np.where(np.arange(n) < 80, "val", "test"),
        inverted=np.arange(n) % 3 == 0,
        exposure=rng.random(n),
        age=np.where(np.arange(n) % 4 == 0, np.nan, rng.integers(45, 80, n)),
        site=pd.Series(rng.choice(["North A", "South b", None], n), dtype=object),
        operated=pd.Series(rng.choice([True, False, None], n), dtype=object),
        visit=np.arange(n),
    )


CASES = {
    "right knees": (Filters(sides=("R",)), lambda k: k.side == "R"),
    "left or right knees": (Filters(sides=["L", "R"]), lambda k: k.side in "LR"),
    "split test": (Filters(splits="test"), lambda k: k.split == "test"),
    "model right": (Filters(right=True), lambda k: k.kl == k.pred),
    "model wrong": (Filters(right=False), lambda k: k.kl != k.pred),
    "inverted": (Filters(inverted=True), lambda k: k.inverted),
    "not inverted": (Filters(inverted=False), lambda k: not k.inverted),
    "exposure from 0.2 to under 0.7": (Filters(exposure=(0.2, 0.7)), lambda k: 0.2 <= k.exposure < 0.7),
    "margin under 2.5": (Filters(margin=(None, 2.5)), lambda k: k.lead < 2.5),
    "margin at least 2.5": (Filters(margin=(2.5, None)), lambda k: k.lead >= 2.5),
    "age at least 60": (Filters(columns=(("age", "at least", 60),)), lambda k: k.age >= 60),
    "age at most 59.5": (Filters(columns=(("age", "at most", 59.5),)), lambda k: k.age <= 59.5),
    "age is missing": (Filters(columns=(("age", "is missing"),)), lambda k: np.isnan(k.age)),
    "kl is 3": (Filters(columns=(("kl", "is", "3"),)), lambda k: k.kl == 3),
    "kl is not 3": (Filters(columns=(("kl", "is not", 3),)), lambda k: k.kl != 3),
    "site is North A": (Filters(columns=(("site", "is", "North A"),)), lambda k: k.site == "North A"),
    "site contains NORTH": (Filters(columns=(("site", "contains", "NORTH"),)), lambda k: "North" in str(k.site)),
    "site is missing": (Filters(columns=(("site", "is missing", None),)), lambda k: pd.isna(k.site)),
    "patient contains 90": (Filters(columns=(("patient", "contains", 90),)), lambda k: "90" in k.patient),
    "visit contains 11": (Filters(columns=(("visit", "contains", "11"),)), lambda k: "11" in str(k.visit)),
    "operated is yes": (Filters(columns=(("operated", "is", "yes"),)), lambda k: k.operated is True),
    "operated is False": (Filters(columns=(("operated", "is", False),)), lambda k: k.operated is False),
    "p1 at least 0.4": (Filters(columns=(("p1", "at least", 0.4),)), lambda k: k.p1 >= 0.4),
}


@pytest.mark.parametrize(("words", "filters", "holds"), [(words, *case) for words, case in CASES.items()], ids=CASES)
def test_a_condition_holds_for_the_knees_it_names(knees, words, filters, holds):
    expected = [bool(holds(knee)) for knee in knees.assign(lead=margin(knees)).itertuples()]
    assert filters.mask(knees).tolist() == expected
    assert filters.describe() == words
    assert any(expected)
    assert words.startswith(("left or right", "patient contains 90")) or not all(expected)


def test_a_missing_value_meets_is_missing_alone(knees):
    for column, value in (("age", 60), ("site", "North A"), ("operated", True)):
        missing = knees[column].isna().to_numpy()
        assert missing.any()
        for operator in ("is", "is not"):
            assert not Filters(columns=((column, operator, value),)).mask(knees)[missing].any()
        both = [Filters(columns=((column, operator, value),)).mask(knees) for operator in ("is", "is not")]
        np.testing.assert_array_equal(both[0] | both[1], ~missing)
    assert not Filters(columns=(("site", "contains", "n"),)).mask(knees)[knees["site"].isna()].any()


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "string", "category", object])
def test_every_kind_of_column_can_be_asked_for_a_value_and_for_the_digits_of_a_number(knees, dtype):
    values = pd.Series([1, 0, None] * 40, dtype=dtype, index=knees.index)
    kind = {"boolean": "flag", "string": "text"}.get(dtype, "number")
    assert kind_of(values) == kind
    asked = [("is", True if dtype == "boolean" else "1"), ("contains", "0"), ("is missing",)]
    for place, condition in enumerate(asked):
        # 1.0 contains a nought as well, and yes or no contains nothing
        if dtype not in ("Float64", "boolean") or place != 1:
            found = Filters(columns=(("asked", *condition),)).mask(knees.assign(asked=values))
            np.testing.assert_array_equal(found, np.arange(120) % 3 == place)


def test_a_knee_must_meet_every_condition_and_keeps_its_row(knees):
    filters = Filters(sides=("R",), margin=(None, 3), columns=(("patient", "contains", "90"), ("age", "at least", 50)))
    chosen = knees[filters.mask(knees)]
    by_hand = knees[(knees["side"] == "R") & (margin(knees) < 3) & (knees["age"] >= 50)]
    pd.testing.assert_frame_equal(chosen, by_hand[by_hand["patient"].str.contains("90")])
    assert 0 < len(chosen) < len(knees)
    assert filters.describe() == "right knees, margin under 3, patient contains 90, age at least 50"


def test_ends_of_a_range_touch_without_sharing_a_knee(knees):
    middle = float(np.sort(margin(knees))[40])
    under, over = (Filters(margin=ends).mask(knees) for ends in ((None, middle), (middle, None)))
    np.testing.assert_array_equal(under, ~over)
    assert under.sum() == 40


def test_filters_can_be_used_as_a_key_and_none_lets_every_knee_pass(knees):
    assert Filters().mask(knees).all()
    assert Filters(margin=(None, None)) == Filters()
    assert Filters().describe() == "all knees"
    assert len({Filters(sides=["R"]), Filters(sides=("R",)), Filters(sides="R", right=False)}) == 2


NO_CONDITIONS = [("age", "above", 3), ("age", "is"), "age", ("age", "is", [1, 2]), ("age", "is", None)]
NO_RANGES = [{"margin": (2, 1)}, {"margin": 3}, {"exposure": ("dark", None)}, {"margin": (float("nan"), 1)}]


@pytest.mark.parametrize(
    "conditions",
    [{"inverted": "perhaps"}, *NO_RANGES, *({"columns": (condition,)} for condition in NO_CONDITIONS)],
    ids=str,
)
def test_conditions_that_cannot_be_are_refused(conditions):
    with pytest.raises(KoaError):
        Filters(**conditions)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (("height", "is", 3), "no column 'height'"),
        (("site", "at least", 3), "site is no number"),
        (("inverted", "at most", 1), "inverted is no number"),
        (("inverted", "contains", "a"), "yes or no"),
        (("inverted", "is", "maybe"), "'maybe' is not"),
        (("age", "at most", "old"), "age is a number"),
        (("age", "is", True), "True is not"),
        (("age", "at most", 10**400), "is a number, and 1000"),
        (("age", "is", "nan"), "age is a number"),
    ],
)
def test_what_a_table_cannot_answer_is_told_and_never_passed_over(knees, condition, says):
    with pytest.raises(KoaError, match=says):
        Filters(columns=(condition,)).mask(knees)


@pytest.mark.parametrize(("name", "value"), {"side": "R", "s2": (1, 2), "pred": True, "exposure": (0, 1)}.items())
def test_a_column_that_a_filter_needs_and_a_table_lacks_is_named(knees, name, value):
    filters = Filters(**{{"side": "sides", "s2": "margin", "pred": "right"}.get(name, name): value})
    with pytest.raises(KoaError, match=name):
        filters.mask(knees.drop(columns=name))


def test_exposure_is_the_first_column_of_numbers_by_one_of_its_names(predictions):
    assert exposure_column(predictions) is None
    first, second = EXPOSURE_COLUMNS[:2]
    table = predictions.assign(**{first: "dark", second: 0.5})
    assert exposure_column(table) == second
    assert Filters(exposure=(0.5, 1)).mask(table).all()
