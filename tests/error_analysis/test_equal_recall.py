"""A row that only calls more knees KL1 is caught: its rival does the same with a bias."""

import numpy as np
import pytest
from simulated_predictions import made_up_predictions

from koa_kit.error_analysis.decisions.decide import Decision, decided
from koa_kit.error_analysis.decisions.rules import MOVED, bias_for_recall, compare_at_recall
from koa_kit.error_analysis.metrics import metrics
from koa_kit.errors import KoaError


def two_trainings(seed):
    """Answers of two trainings of one row to the same made-up knees."""
    knees, rng = made_up_predictions(300, seed=seed), np.random.default_rng(0)
    names = [f"s{kl}{view}" for kl in range(5) for view in ("", "_flip")]
    again = knees.assign(**{name: knees[name] + rng.normal(0, 0.2, len(knees)) for name in names})
    return {0: knees, 1: decided(again, Decision())}


PLAIN_VAL, PLAIN_ASIDE = two_trainings(0), two_trainings(10)


@pytest.mark.parametrize("recall", [0.1, 0.35, 0.6, 0.9])
def test_with_its_bias_the_model_finds_the_share_of_kl1_that_was_asked_for(recall):
    knees = PLAIN_VAL[0]
    moved = decided(knees, Decision(kl1_bias=bias_for_recall(knees, recall)))
    assert metrics(moved)["kl1_recall"] == pytest.approx(recall, abs=0.02)


def test_a_row_that_only_calls_more_knees_kl1_is_no_better_than_its_rival_at_the_same_recall():
    eager = {"plain": Decision(), "eager": Decision(kl1_bias=0.8)}
    val, aside = (
        {name: {seed: decided(table, decision) for seed, table in tables.items()} for name, decision in eager.items()}
        for tables in (PLAIN_VAL, PLAIN_ASIDE)
    )
    table = compare_at_recall("eager", "plain", chosen_on=val, judged_on=aside, draws=200)
    table = table[table["row"] == "eager"].set_index("metric")
    assert set(table["baseline"]) == {"plain" + MOVED}
    assert (table["difference"].abs() < 0.03).all()
    assert table.loc["accuracy", "difference_low"] <= 0 <= table.loc["accuracy", "difference_high"]


def test_a_row_that_knows_kl1_better_keeps_more_accuracy_at_the_same_recall():
    val, aside = {"plain": PLAIN_VAL}, {"plain": PLAIN_ASIDE}
    for rows in (val, aside):
        rows["knowing"] = {}
        for seed, table in rows["plain"].items():
            true = table["kl"].eq(1).to_numpy() * 1.5
            rows["knowing"][seed] = decided(table.assign(s1=table["s1"] + true), Decision())
    table = compare_at_recall("knowing", "plain", chosen_on=val, judged_on=aside, draws=200)
    gap = table[table["row"] == "knowing"].set_index("metric").loc["accuracy"]
    assert gap["difference_low"] > 0


def test_rows_and_seeds_that_are_not_there_are_named():
    rows = {"plain": PLAIN_VAL}
    with pytest.raises(KoaError, match="no row 'eager'"):
        compare_at_recall("eager", "plain", chosen_on=rows, judged_on=rows)
    fewer = {"plain": {0: PLAIN_ASIDE[0]}}
    with pytest.raises(KoaError, match="each training"):
        compare_at_recall("plain", "plain", chosen_on=rows, judged_on=fewer)
    no_kl1 = PLAIN_VAL[0].query("kl != 1")
    with pytest.raises(KoaError, match="no recall"):
        bias_for_recall(no_kl1, 0.5)
