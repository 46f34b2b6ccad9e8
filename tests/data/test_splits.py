"""The holdout: whole patients, the same ones every time, out of train alone."""

import numpy as np
import pytest

from koa_kit import load_cohort
from koa_kit.data.splits import HOLDOUT, check_apart, set_aside
from koa_kit.errors import KoaError


@pytest.fixture(scope="module")
def phantoms(session_cache):
    return load_cohort("phantom", cache_dir=session_cache)


def patients(cohort, split):
    return set(cohort.split(split).table["patient"])


def test_the_holdout_is_whole_train_patients_and_val_and_test_knees_stay_where_they_are(phantoms):
    parted = set_aside(phantoms, 0.2)
    assert not patients(parted, "train") & patients(parted, HOLDOUT)
    assert patients(parted, "train") | patients(parted, HOLDOUT) == patients(phantoms, "train")
    for split in ("val", "test"):
        assert parted.split(split).table.equals(phantoms.split(split).table)
    assert parted.fingerprint == phantoms.fingerprint


def test_about_the_asked_share_is_set_aside_and_a_larger_share_holds_the_smaller(phantoms):
    fifth, half = (patients(set_aside(phantoms, share), HOLDOUT) for share in (0.2, 0.5))
    assert fifth < half
    assert len(fifth) / len(patients(phantoms, "train")) == pytest.approx(0.2, abs=0.08)


def test_the_order_of_the_knees_does_not_decide_who_is_set_aside(phantoms):
    backwards = phantoms.take(range(len(phantoms))[::-1])
    assert patients(set_aside(backwards, 0.2), HOLDOUT) == patients(set_aside(phantoms, 0.2), HOLDOUT)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1e-6])
def test_a_share_that_leaves_nobody_on_one_side_is_refused(phantoms, share):
    with pytest.raises(KoaError):
        set_aside(phantoms, share)


def test_nothing_is_set_aside_without_a_share_and_nothing_twice(phantoms):
    assert set_aside(phantoms, 0) is phantoms
    with pytest.raises(KoaError, match="already"):
        set_aside(set_aside(phantoms, 0.2), 0.2)


@pytest.mark.parametrize("spelt", ["p01", "P01-", " P01", "Ｐ01", "P01"])
def test_a_patient_spelt_in_two_ways_is_not_trained_and_scored_on(spelt, make_knees):
    knees = make_knees(40)
    check_apart(knees)
    train, val = (np.flatnonzero(knees.table["split"] == split)[0] for split in ("train", "val"))
    knees.table.loc[train, "patient"] = "P01"
    knees.table.loc[val, "patient"] = spelt
    with pytest.raises(KoaError, match=r"patients are in two splits[\s\S]*P01 \(train\)"):
        check_apart(knees)


def test_the_same_film_under_two_names_is_not_trained_and_scored_on(make_knees):
    knees = make_knees(40)
    train, val = (np.flatnonzero(knees.table["split"] == split)[0] for split in ("train", "val"))
    knees.table.loc[[train, val], "sha256"] = "ab" * 32
    with pytest.raises(KoaError, match=rf"films are in two splits[\s\S]*{knees.table['file'][val]} \(val\)"):
        check_apart(knees)
