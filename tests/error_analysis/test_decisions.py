"""The same similarities give other grades under another decision, and the curves tell what each would score."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from koa_kit.error_analysis.decisions.curves import ROWS, kl1_curve, kl1_point, reject_curve
from koa_kit.error_analysis.decisions.decision import RULES, DecisionRule, apply_rule, decide
from koa_kit.error_analysis.decisions.figures import decision_figure
from koa_kit.error_analysis.metrics import compute_metrics
from koa_kit.error_analysis.predictions import check_predictions, probabilities, similarities
from koa_kit.errors import KoaError

TRAINED_ON = (0.4, 0.18, 0.25, 0.13, 0.04)
DECISIONS = {
    "default": DecisionRule(),
    "warm and expecting more doubtful knees": DecisionRule(1.4, 0.3, (0.3, 0.3, 0.2, 0.15, 0.05), TRAINED_ON),
    "median grade": DecisionRule(1.3, 0.2, (0.3, 0.3, 0.2, 0.15, 0.05), TRAINED_ON, rule="median_grade"),
    "expected grade": DecisionRule(1.2, -0.4, rule="expected_grade"),
    "thresholds on both sides of KL1": DecisionRule(rule="expected_grade", thresholds=(0.3, 0.8, 1.6, 3.2)),
    "a threshold at KL1": DecisionRule(rule="expected_grade", thresholds=(0.2, 1.0, 1.7, 2.9)),
    "every threshold above KL1": DecisionRule(rule="expected_grade", thresholds=(1.2, 1.7, 2.3, 3.2)),
}
every_decision = pytest.mark.parametrize("decision", DECISIONS.values(), ids=DECISIONS)


@pytest.fixture
def knees(predictions):
    return similarities(predictions), predictions["kl"].to_numpy(int)


def kappa_by_hand(kl, pred):
    """Squared distance of the two grades of a knee, against that of any two knees."""
    by_chance = (np.subtract.outer(kl, pred) ** 2).mean()
    return 1 - ((kl - pred) ** 2).mean() / by_chance if by_chance else np.nan


def decide_by_hand(row, decision):
    """One knee at a time, by products of probabilities instead of sums of logits."""
    odds = [np.exp(value / decision.temperature) for value in row]
    if decision.prior is not None:
        odds = [o * new / old for o, new, old in zip(odds, decision.prior, decision.trained_on, strict=True)]
    odds[1] *= np.exp(decision.kl1_bias)
    p = [o / sum(odds) for o in odds]
    if decision.rule == "most_likely":
        return p, p.index(max(p))
    if decision.rule == "median_grade":
        return p, next(grade for grade in range(5) if sum(p[: grade + 1]) >= sum(p[grade + 1 :]))
    mean = sum(grade * share for grade, share in enumerate(p))
    return p, sum(mean > threshold for threshold in decision.thresholds)


@every_decision
def test_decided_predictions_are_those_of_a_loop_over_knees_and_views_and_leave_the_given_ones_alone(
    predictions, decision
):
    before = predictions.copy()
    after = check_predictions(apply_rule(predictions, decision))
    assert predictions.equals(before)
    for view in ("", "_flip"):
        p, grades = decide(similarities(predictions, view), decision)
        by_hand = [decide_by_hand(row, decision) for row in similarities(predictions, view)]
        assert p == pytest.approx(np.array([row for row, _ in by_hand]))
        assert grades.tolist() == [grade for _, grade in by_hand]
        assert np.array_equal(probabilities(after, view), p)
        assert np.array_equal(after[f"pred{view}"], grades)
        s = np.exp(similarities(after, view))
        assert p == pytest.approx(s / s.sum(1, keepdims=True))
    assert after[["knee_id", "kl", "file"]].equals(predictions[["knee_id", "kl", "file"]])


def test_a_knee_between_two_grades_gets_the_lower_under_every_rule():
    between = np.array([[0.0, 0, -1000, -1000, -1000], [-1000, -1000, -1000, 0, 0]])
    for rule in RULES:
        assert decide(between, DecisionRule(rule=rule))[1].tolist() == [0, 3]


def test_expecting_the_grades_of_training_changes_nothing_and_counts_do_as_well_as_shares(knees):
    plain = decide(knees[0], DecisionRule())[0]
    assert decide(knees[0], DecisionRule(prior=TRAINED_ON, trained_on=TRAINED_ON))[0] == pytest.approx(plain)
    counts = DecisionRule(prior=(10, 20, 30, 20, 20), trained_on=(400, 180, 250, 130, 40))
    assert counts == DecisionRule(prior=(0.1, 0.2, 0.3, 0.2, 0.2), trained_on=TRAINED_ON)


def test_correct_probabilities_stay_correct_when_the_shares_of_grades_change():
    """Severity is normal around each grade: Bayes' rule gives the right probabilities under either shares."""
    x, expected = np.linspace(-1, 5, 50)[:, None], (0.1, 0.3, 0.3, 0.2, 0.1)
    loglik = -0.5 * (x - np.arange(5)) ** 2
    right = np.exp(loglik) * np.array(expected)
    p, _ = decide(loglik + np.log(TRAINED_ON), DecisionRule(prior=expected, trained_on=TRAINED_ON))
    assert p == pytest.approx(right / right.sum(1, keepdims=True))


@every_decision
def test_every_row_of_the_curve_and_the_point_are_what_deciding_with_their_bias_scores(predictions, knees, decision):
    s, kl = (values[:60] for values in knees)
    curve = kl1_curve(s, kl, decision)
    assert curve["kl1_bias"].is_monotonic_increasing
    for row in curve.to_dict("records"):
        pred = np.array([decide_by_hand(knee, replace(decision, kl1_bias=row["kl1_bias"]))[1] for knee in s])
        assert row["accuracy"] == pytest.approx(np.mean(pred == kl))
        assert row["qwk"] == pytest.approx(kappa_by_hand(kl, pred))
        assert row["kl1_recall"] == pytest.approx(np.mean(pred[kl == 1] == 1))
        precision = np.mean(kl[pred == 1] == 1) if (pred == 1).any() else np.nan
        assert row["kl1_precision"] == pytest.approx(precision, nan_ok=True)
    point, told = kl1_point(*knees, decision), compute_metrics(apply_rule(predictions, decision))
    assert point.pop("kl1_bias") == decision.kl1_bias
    assert point == pytest.approx({name: told[name] for name in point}, nan_ok=True)


def test_the_curve_has_a_row_between_any_two_knees_that_become_kl1_and_runs_from_none_to_all(knees):
    s, kl = knees
    curve = kl1_curve(s, kl, DecisionRule())
    assert len(curve) == len(np.unique(np.delete(s, 1, axis=1).max(1) - s[:, 1])) + 1
    assert curve["kl1_recall"].is_monotonic_increasing
    assert curve["kl1_recall"].iloc[[0, -1]].tolist() == [0, 1]
    assert curve["accuracy"].iloc[-1] == pytest.approx((kl == 1).mean())


def test_knees_with_the_same_lead_become_kl1_together(knees):
    s, kl = (np.concatenate([values, values]) for values in knees)
    curve = kl1_curve(s, kl, DecisionRule())
    assert curve.drop(columns="qwk").equals(kl1_curve(*knees, DecisionRule()).drop(columns="qwk"))


# a threshold at KL1 itself is left out: far off, the expected grade comes nearer to 1 than rounding can tell
@pytest.mark.parametrize("name", [name for name in DECISIONS if name != "a threshold at KL1"])
def test_a_thinned_curve_keeps_its_ends_and_leaves_no_wide_gap(make_predictions, name):
    decision = DECISIONS[name]
    many = make_predictions(1500)
    s, kl = similarities(many), many["kl"].to_numpy(int)
    curve = kl1_curve(s, kl, decision)
    assert ROWS / 2 < len(curve) <= ROWS
    assert curve["kl1_recall"].diff().abs().max() < 0.02
    for end, bias in ((0, -60.0), (-1, 60.0)):
        far = kl1_point(s, kl, replace(decision, kl1_bias=bias))
        assert curve["accuracy"].iloc[end] == far["accuracy"]
    within = replace(decision, kl1_bias=curve["kl1_bias"].iloc[57])
    assert kl1_point(s, kl, within) == pytest.approx(curve.iloc[57].to_dict())


def test_a_curve_of_knees_without_kl1_has_no_recall_to_tell(knees):
    s, kl = knees[0][knees[1] != 1], knees[1][knees[1] != 1]
    curve = kl1_curve(s, kl, DecisionRule())
    assert curve["kl1_recall"].isna().all()
    with pytest.raises(KoaError, match="No knee is KL1"):
        decision_figure(curve, kl1_point(s, kl, DecisionRule()), kl1_point(s, kl, DecisionRule()))


@every_decision
def test_rejecting_keeps_the_knees_surest_of_their_own_grade(knees, decision):
    s, kl = knees
    p, grades = decide(s, decision)
    curve = reject_curve(p, kl, grades)
    sure = np.array([row[grade] for row, grade in zip(p, grades, strict=True)])
    assert len(curve) == len(np.unique(sure))
    assert curve["kept"].iloc[-1] == 1
    for row in curve.itertuples():
        kept = sure >= row.threshold - 1e-12
        assert row.kept == kept.mean()
        assert row.accuracy == pytest.approx((kl == grades)[kept].mean())
        if len({*kl[kept], *grades[kept]}) > 1:
            kappa = cohen_kappa_score(kl[kept], grades[kept], labels=range(5), weights="quadratic")
            assert row.qwk == pytest.approx(kappa)
        else:
            assert np.isnan(row.qwk)


def test_knees_of_equal_confidence_are_rejected_together_whatever_their_order():
    p = np.array([[0.6, 0.4, 0, 0, 0], [0.6, 0.1, 0.3, 0, 0], [0.9, 0.1, 0, 0, 0], [0, 0.6, 0, 0.4, 0]])
    curve = reject_curve(p, np.array([0, 2, 0, 3]), p.argmax(1))
    assert curve["kept"].tolist() == [0.25, 1]
    assert curve["accuracy"].tolist() == [1, 0.5]
    assert curve["threshold"].tolist() == pytest.approx([0.9, 0.6])


WRONG = {
    "temperature": (0, -1.0, "warm", None),
    "kl1_bias": (np.nan, (0.1, 0.2)),
    "prior": ((0.5, 0.5), (0.5, 0.5, 0, 0, 0)),
    "trained_on": ((0.5, 0.5, 0.1, 0.1, -0.2),),
    "rule": ("median",),
    "thresholds": ((0.5, 1.5, 1.5, 3.5), (0.5, 1.5, 2.5)),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_decision_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(KoaError, match=name):
        DecisionRule(**{"trained_on": TRAINED_ON, name: value})


def test_expected_shares_without_those_of_training_are_refused_and_lists_of_them_are_taken():
    with pytest.raises(KoaError, match="trained_on too"):
        DecisionRule(prior=TRAINED_ON)
    assert DecisionRule(prior=list(TRAINED_ON), trained_on=TRAINED_ON).prior == pytest.approx(TRAINED_ON)


def test_logits_that_are_none_and_grades_that_do_not_fit_the_knees_are_refused(knees):
    s, kl = knees
    p, grades = decide(s, DecisionRule())
    refused = [("add up to 1", reject_curve, s, kl, grades)]
    for none in (np.zeros((0, 5)), np.zeros((3, 4)), np.zeros(5), np.full((2, 5), np.inf)):
        refused.append(("five finite numbers", decide, none, DecisionRule()))
    for wrong in (kl[1:], kl + 1, kl + 0.5):
        refused += [("grades of", kl1_curve, s, wrong, DecisionRule()), ("grades of", reject_curve, p, kl, wrong)]
    for what, function, *values in refused:
        with pytest.raises(KoaError, match=what):
            function(*values)


def test_the_decision_figure_names_both_points_outside_the_axes_also_where_they_are_one(knees):
    s, kl = knees
    start = kl1_point(s, kl, DecisionRule())
    for decision in (DecisionRule(), DecisionRule(kl1_bias=0.7)):
        point = kl1_point(s, kl, decision)
        ax = decision_figure(kl1_curve(s, kl, decision), point, start)
        ax.figure.canvas.draw()
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert f"{start['accuracy']:.1%}" in names[0]
        assert f"{point['kl1_recall']:.1%}" in names[1]
        assert not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())
        assert ax.collections[1].get_offsets()[0].tolist() == pytest.approx([point["accuracy"], point["kl1_recall"]])
