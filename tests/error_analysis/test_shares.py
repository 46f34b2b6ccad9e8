"""Draws of patients are counted kind by kind, as drawing them one by one would."""

import numpy as np
import pandas as pd

from koa_kit.error_analysis.statistics.shares import drawn_counts


def test_draws_spread_as_drawing_patients_one_by_one_does_and_the_first_row_counts_all_knees():
    rng = np.random.default_rng(1)
    knees = rng.integers(1, 5, 80)
    patient = np.repeat(np.arange(80), knees)
    cell = np.repeat(rng.integers(3, size=80), knees)
    whole, *fast = drawn_counts(pd.Series(patient), cell, 3, draws=20_000)
    np.testing.assert_array_equal(whole, np.bincount(cell, minlength=3))
    slow = []
    for _ in range(4000):
        chosen = rng.integers(80, size=80)
        slow.append(sum(np.bincount(cell[patient == one], minlength=3) for one in chosen))
    np.testing.assert_allclose(np.mean(fast, 0), np.mean(slow, 0), rtol=0.02)
    np.testing.assert_allclose(np.cov(np.transpose(fast)), np.cov(np.transpose(slow)), rtol=0.15, atol=3)


def test_every_draw_has_as_many_patients():
    rng = np.random.default_rng(0)
    counts = drawn_counts(pd.Series(np.repeat(np.arange(30), 2)), rng.integers(7, size=60), 7, draws=50)
    assert counts.shape == (51, 7)
    assert (counts.sum(1) == 60).all()
    assert counts[1:].std(0).max() > 0


def test_a_patient_with_hundreds_of_knees_is_counted_in_full():
    counts = drawn_counts(pd.Series(["a"] * 700 + ["b"] * 2), np.array([1] * 700 + [0] * 2), 2, draws=40)
    assert counts[0].tolist() == [2, 700]
    assert {tuple(draw) for draw in counts[1:]} == {(0, 1400), (2, 700), (4, 0)}
