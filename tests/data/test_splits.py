"""The holdout: whole patients, the same ones every time, out of train alone."""

import pytest

from koa_kit import load_cohort
from koa_kit.data.splits import HOLDOUT, set_aside
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
