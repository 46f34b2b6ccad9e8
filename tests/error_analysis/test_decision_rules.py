"""Three rules under one model, and two rows of a grid at the same KL1 recall: what each finds and what it costs."""

import numpy as np
import pytest
from simulated_predictions import simulate_predictions

from koa_kit.error_analysis.decisions.decision import DecisionRule, apply_rule, decide
from koa_kit.error_analysis.decisions.rules import (
    DECISIONS,
    MOVED,
    bias_for_recall,
    compare_at_recall,
    compare_rules,
    rules_in_words,
)
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.error_analysis.predictions import probabilities
from koa_kit.errors import KoaError

LIKELY, MEDIAN, ROUNDED = DECISIONS


def test_all_rules_are_scored_on_the_same_knees_and_their_difference_is_that_of_the_scores(predictions):
    table = compare_rules(predictions, draws=50).set_index(["row", "metric"])
    kl, rounded = predictions["kl"].to_numpy(), np.rint(probabilities(predictions) @ np.arange(5)).astype(int)
    found = compute_metrics(predictions)
    for metric in ("accuracy", "qwk", "mae", "kl1_recall", "kl1_precision"):
        assert table.loc[(LIKELY, metric), "value"] == pytest.approx(found[metric])
    assert table.loc[(ROUNDED, "accuracy"), "value"] == pytest.approx((rounded == kl).mean())
    assert table.loc[(ROUNDED, "kl1_recall"), "value"] == pytest.approx((rounded == 1)[kl == 1].mean())
    gap = table.loc[(ROUNDED, "mae")]
    assert gap["difference"] == pytest.approx(abs(rounded - kl).mean() - found["mae"])
    assert gap["difference_low"] <= gap["difference"] <= gap["difference_high"]


def test_each_rule_has_the_least_expected_cost_of_its_kind(predictions):
    """If the probabilities are right: of being wrong, of the distance, of its square."""
    p, grades = probabilities(predictions), np.arange(5)
    distance = abs(grades[:, None] - grades)
    for name, power in {LIKELY: 0, MEDIAN: 1, ROUNDED: 2}.items():
        cost = p @ (distance**power if power else distance > 0)
        given = decide(np.log(p), DECISIONS[name])[1]
        assert cost[np.arange(len(p)), given] == pytest.approx(cost.min(1)), name
    assert (decide(np.log(p), DECISIONS[MEDIAN])[1] != p.argmax(1)).any()


def test_other_decisions_are_compared_with_the_first(predictions):
    asked = {"warm": DecisionRule(temperature=2.0), "all doubtful": DecisionRule(kl1_bias=50.0)}
    table = compare_rules(predictions, asked, metrics=["kl1_recall", "accuracy"], draws=50).set_index(["row", "metric"])
    assert table.loc[("all doubtful", "kl1_recall"), "value"] == 1
    assert set(table["baseline"]) == {"warm"}
    # a temperature changes no grade
    assert table.loc[("warm", "accuracy"), "value"] == pytest.approx(compute_metrics(predictions)["accuracy"])


def test_in_words_every_rule_has_a_line_and_every_other_one_its_difference_from_the_first(predictions):
    rules = compare_rules(predictions, draws=50)
    told, row = rules_in_words(rules), rules.set_index(["row", "metric"]).loc[(MEDIAN, "qwk")]
    assert list(told.index) == [LIKELY, MEDIAN, ROUNDED, f"{MEDIAN}: difference", f"{ROUNDED}: difference"]
    assert told.loc[MEDIAN, "Quadratic weighted kappa"] == f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    assert told.loc[f"{MEDIAN}: difference", "Quadratic weighted kappa"].startswith(f"{row['difference']:+.3f} (")
    without = compare_rules(predictions[predictions["kl"] != 1], metrics=["kl1_recall"], draws=50)
    assert set(rules_in_words(without)["KL1 recall"]) == {"cannot be told"}


def two_trainings(seed):
    """Answers of two trainings of one row to the same simulated knees."""
    knees, rng = simulate_predictions(300, seed=seed), np.random.default_rng(0)
    names = [f"s{kl}{view}" for kl in range(5) for view in ("", "_flip")]
    again = knees.assign(**{name: knees[name] + rng.normal(0, 0.2, len(knees)) for name in names})
    return {0: knees, 1: apply_rule(again, DecisionRule())}


PLAIN_VAL, PLAIN_ASIDE = two_trainings(0), two_trainings(10)


@pytest.mark.parametrize("recall", [0.1, 0.35, 0.6, 0.9])
def test_with_its_bias_the_model_finds_the_share_of_kl1_that_was_asked_for(recall):
    knees = PLAIN_VAL[0]
    moved = apply_rule(knees, DecisionRule(kl1_bias=bias_for_recall(knees, recall)))
    assert compute_metrics(moved)["kl1_recall"] == pytest.approx(recall, abs=0.02)


def test_a_row_that_only_calls_more_knees_kl1_is_no_better_than_its_rival_at_the_same_recall():
    eager = {"plain": DecisionRule(), "eager": DecisionRule(kl1_bias=0.8)}

    def decided(tables):
        return {row: {seed: apply_rule(tables[seed], rule) for seed in tables} for row, rule in eager.items()}

    val, aside = decided(PLAIN_VAL), decided(PLAIN_ASIDE)
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
            rows["knowing"][seed] = apply_rule(table.assign(s1=table["s1"] + true), DecisionRule())
    table = compare_at_recall("knowing", "plain", chosen_on=val, judged_on=aside, draws=200)
    gap = table[table["row"] == "knowing"].set_index("metric").loc["accuracy"]
    assert gap["difference_low"] > 0


def test_rows_and_seeds_that_are_not_there_are_named():
    rows, fewer = {"plain": PLAIN_VAL}, {"plain": {0: PLAIN_ASIDE[0]}}
    for row, judged, what in (("eager", rows, "no row 'eager'"), ("plain", fewer, "each training")):
        with pytest.raises(KoaError, match=what):
            compare_at_recall(row, "plain", chosen_on=rows, judged_on=judged)
    with pytest.raises(KoaError, match="no recall"):
        bias_for_recall(PLAIN_VAL[0].query("kl != 1"), 0.5)
