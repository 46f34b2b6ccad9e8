"""One model, three rules: what the median and the rounded mean find, and what they cost."""

import numpy as np
import pytest

from koa_kit.error_analysis.decisions.decide import Decision, decide
from koa_kit.error_analysis.decisions.rules import DECISIONS, compare_rules, rules_in_words
from koa_kit.error_analysis.metrics import metrics
from koa_kit.error_analysis.predictions import probabilities

LIKELY, MEDIAN, ROUNDED = DECISIONS


def test_all_rules_are_scored_on_the_same_knees_and_their_difference_is_that_of_the_scores(predictions):
    table = compare_rules(predictions, draws=50).set_index(["row", "metric"])
    kl, rounded = predictions["kl"].to_numpy(), np.rint(probabilities(predictions) @ np.arange(5)).astype(int)
    found = metrics(predictions)
    for metric in ("accuracy", "qwk", "mae", "kl1_recall", "kl1_precision"):
        assert table.loc[(LIKELY, metric), "value"] == pytest.approx(found[metric])
    assert table.loc[(ROUNDED, "accuracy"), "value"] == pytest.approx((rounded == kl).mean())
    assert table.loc[(ROUNDED, "kl1_recall"), "value"] == pytest.approx((rounded == 1)[kl == 1].mean())
    gap = table.loc[(ROUNDED, "mae")]
    assert gap["difference"] == pytest.approx(abs(rounded - kl).mean() - found["mae"])
    assert gap["difference_low"] <= gap["difference"] <= gap["difference_high"]


def test_a_knee_torn_between_normal_and_minimal_is_doubtful_by_its_expected_grade():
    logits = np.log([[0.45, 0.10, 0.43, 0.01, 0.01]])
    assert decide(logits, DECISIONS[LIKELY])[1].tolist() == [0]
    assert decide(logits, DECISIONS[ROUNDED])[1].tolist() == [1]


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
    asked = {"warm": Decision(temperature=2.0), "all doubtful": Decision(kl1_bias=50.0)}
    table = compare_rules(predictions, asked, metrics=["kl1_recall", "accuracy"], draws=50).set_index(["row", "metric"])
    assert table.loc[("all doubtful", "kl1_recall"), "value"] == 1
    assert set(table["baseline"]) == {"warm"}
    # a temperature changes no grade
    assert table.loc[("warm", "accuracy"), "value"] == pytest.approx(metrics(predictions)["accuracy"])


def test_in_words_every_rule_has_a_line_and_every_other_one_its_difference_from_the_first(predictions):
    rules = compare_rules(predictions, draws=50)
    told, row = rules_in_words(rules), rules.set_index(["row", "metric"]).loc[(MEDIAN, "qwk")]
    assert list(told.index) == [LIKELY, MEDIAN, ROUNDED, f"{MEDIAN}: difference", f"{ROUNDED}: difference"]
    assert told.loc[MEDIAN, "Quadratic weighted kappa"] == f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    assert told.loc[f"{MEDIAN}: difference", "Quadratic weighted kappa"].startswith(f"{row['difference']:+.3f} (")
    without = compare_rules(predictions[predictions["kl"] != 1], metrics=["kl1_recall"], draws=50)
    assert set(rules_in_words(without)["KL1 recall"]) == {"cannot be told"}
