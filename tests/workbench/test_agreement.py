"""Readers who say the same agree; bad images, lone patients and grades without variation tell nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from koa_kit.error_analysis.statistics.intervals import draw_patients
from koa_kit.errors import KoaError
from koa_kit.workbench.reviews.agreement import GIVEN, reader_agreement
from koa_kit.workbench.reviews.log import Review, ReviewLog

FIVE = list(range(5))


def said(reader, grades, kl, patient=None):
    """Verdicts of a reader on knee 0, 1, …: a grade, -1 for a bad image, None for a knee not judged."""
    rows = []
    for knee, (grade, given) in enumerate(zip(grades, kl, strict=True)):
        if grade is None:
            continue
        answer = "bad_image" if grade == -1 else "agree" if grade == given else "disagree"
        row = {"reader": reader, "knee_id": f"k{knee}", "patient": f"p{knee // 2 if patient is None else patient}"}
        rows.append(row | {"kl": given, "answer": answer, "grade": grade if answer == "disagree" else None})
    return pd.DataFrame(rows).astype({"grade": "Int64"})


@pytest.fixture
def grades():
    """Given grades of 80 knees of 40 patients and what three readers make of them, seldom more than a grade away."""
    rng = np.random.default_rng(4)
    kl = rng.choice(5, 80, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    return {"kl": kl} | {
        name: np.clip(kl + rng.choice([-1, 0, 1], 80, p=[wide / 2, 1 - wide, wide / 2]), 0, 4)
        for name, wide in (("Ann", 0.1), ("Bo", 0.3), ("Cy", 0.6))
    }


@pytest.fixture
def latest(grades):
    return pd.concat([said(name, grades[name], grades["kl"]) for name in ("Cy", "Ann", "Bo")], ignore_index=True)


def row_of(table, first, second):
    return table[(table["first"] == first) & (table["second"] == second)].iloc[0]


def test_every_pair_of_readers_and_each_reader_against_the_given_grades_has_scikit_learns_kappa(latest, grades):
    table = reader_agreement(latest, draws=50)
    assert list(zip(table["first"], table["second"], strict=True)) == [
        ("Ann", "Bo"), ("Ann", "Cy"), ("Bo", "Cy"), ("Ann", GIVEN), ("Bo", GIVEN), ("Cy", GIVEN),
    ]  # fmt: skip
    for row in table.itertuples():
        assert (row.knees, row.patients, row.explanation) == (80, 40, "")
        one, other = grades[row.first], grades["kl" if row.second == GIVEN else row.second]
        assert row.kappa == pytest.approx(cohen_kappa_score(one, other, labels=FIVE, weights="quadratic"))
        assert row.agreement == np.mean(one == other)
        assert row.low < row.kappa < row.high
    shuffled = latest.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(reader_agreement(shuffled, draws=50), table)


def test_the_interval_is_that_of_draws_of_whole_patients_one_at_a_time(latest, grades):
    values = []
    for weights in draw_patients(40, 60, 5):
        knees = np.repeat(np.arange(80), np.repeat(weights, 2).astype(int))
        values.append(cohen_kappa_score(grades["Ann"][knees], grades["Bo"][knees], labels=FIVE, weights="quadratic"))
    # knees of p0, p1, p10, p11, …: patients are drawn in the order of their names
    named = latest.assign(patient="p" + latest["patient"].str[1:].str.zfill(2))
    row = row_of(reader_agreement(named, draws=60, seed=5), "Ann", "Bo")
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
    assert row["draws"] == 60


def test_only_knees_that_both_judged_count_and_bad_images_are_counted_apart(grades):
    kl, ann, bo = grades["kl"], grades["Ann"], grades["Bo"]
    some = [-1 if knee % 8 == 0 else grade for knee, grade in enumerate(bo)]
    late = [grade if knee >= 20 else None for knee, grade in enumerate(ann)]
    table = reader_agreement(pd.concat([said("Ann", late, kl), said("Bo", some, kl)]), draws=50)
    both = (np.arange(80) % 8 != 0) & (np.arange(80) >= 20)
    row = row_of(table, "Ann", "Bo")
    assert (row["knees"], row["patients"], row["bad_image"]) == (53, 30, 7)
    assert row["agreement"] == np.mean(ann[both] == bo[both])
    assert row_of(table, "Bo", GIVEN)["bad_image"] == 10
    assert row_of(table, "Ann", GIVEN)["bad_image"] == 0


@pytest.mark.parametrize(
    ("one", "other", "patient", "knees", "agreement", "why"),
    [
        ([0, None], [None, 1], None, 0, np.nan, "no knee"),
        ([-1, -1], [1, 1], None, 0, np.nan, "no knee"),
        ([0, 3], [0, 2], 7, 2, 0.5, "one patient"),
        ([2, 2, 2, 2], [2, 2, 2, 2], None, 4, 1.0, "no variation.*KL2"),
    ],
)
def test_too_little_to_tell_is_explained_and_no_number(one, other, patient, knees, agreement, why):
    kl = [1] * len(one)
    table = pd.concat([said("Ann", one, kl, patient), said("Bo", other, kl, patient)])
    row = row_of(reader_agreement(table, draws=20), "Ann", "Bo")
    assert np.isnan(row[["kappa", "low", "high"]].astype(float)).all()
    assert row["knees"] == knees
    assert row["agreement"] == pytest.approx(agreement, nan_ok=True)
    assert pd.Series([row["explanation"]]).str.contains(why).all()
    assert row["draws"] == 0


def test_a_reader_who_never_varies_has_a_kappa_of_nought_and_draws_without_variation_are_left_out_and_counted():
    table = pd.concat([said("Ann", [2] * 6, [0] * 6), said("Bo", [0, 1, 2, 3, 4, 2], [0] * 6)])
    assert row_of(reader_agreement(table, draws=30), "Ann", "Bo")["kappa"] == 0
    table = said("Ann", [1, 1, 1, 1, 2, 3], [1, 1, 1, 1, 2, 2])
    row = row_of(reader_agreement(table, draws=300), "Ann", GIVEN)
    assert 200 < row["draws"] < 300
    assert row["low"] <= row["kappa"] <= row["high"]


def test_a_log_goes_straight_in_and_the_last_word_counts(tmp_path):
    log = ReviewLog(tmp_path / "verdicts.jsonl")
    empty = reader_agreement(log.latest())
    assert empty.empty
    assert "explanation" in empty
    for number, kl in enumerate([0, 1, 2, 3]):
        knee = {"reader": "Ann", "knee_id": f"{number}L", "patient": str(number), "kl": kl}
        log.add(Review(**knee, answer="bad_image"))
        log.add(Review(**knee, answer="disagree", grade=4) if number == 3 else Review(**knee, answer="agree"))
    row = reader_agreement(log.latest(), draws=20).squeeze()
    assert (row["agreement"], row["bad_image"]) == (0.75, 0)
    kappa = cohen_kappa_score([0, 1, 2, 4], [0, 1, 2, 3], labels=FIVE, weights="quadratic")
    assert row["kappa"] == pytest.approx(kappa)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.drop(columns="kl"), "columns"),
        (lambda t: pd.concat([t, t[:2]]), "2 reviews are not the only one"),
        (lambda t: t.assign(reader=GIVEN).drop_duplicates("knee_id"), "called"),
        (lambda t: t.assign(patient=t["patient"].where(t.index != 3, "other")), "two patients"),
        (lambda t: t.assign(answer=t["answer"].where(t.index != 3, "maybe")), "1 reviews have an unknown"),
        (lambda t: t.assign(grade=t["grade"].where(t["answer"] != "disagree", 7)), "unknown answer or grade"),
        (lambda t: t.assign(grade=1), "unknown answer or grade"),
        (lambda t: t.assign(kl=5), "unknown answer or grade"),
        (lambda t: t.assign(reader=None), "no reader"),
    ],
)
def test_what_are_no_last_words_is_refused(latest, change, what):
    with pytest.raises(KoaError, match=what):
        reader_agreement(change(latest))
    with pytest.raises(KoaError, match="no interval"):
        reader_agreement(latest, draws=0)
