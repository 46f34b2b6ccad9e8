"""Knees worth a second look: labels the model doubts come first, and a grade that does not hold is seen not to."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from koa_kit.error_analysis.label_issues import find_label_issues, unstable
from koa_kit.error_analysis.predictions import probabilities
from koa_kit.error_analysis.robustness import prediction_robustness, robustness_figure
from koa_kit.error_analysis.statistics.shares import share_with_interval
from koa_kit.errors import KoaError


def by_definition(p, kl):
    """Latent grade of each knee, knee by knee as the paper defines it (equations 1 and 2)."""
    limit = [np.mean([p[x, j] for x in range(len(p)) if kl[x] == j]) if j in kl else np.inf for j in range(5)]
    reached = [[j for j in range(5) if p[x, j] >= limit[j] - 1e-6] for x in range(len(p))]
    return [max(grades, key=p[x].__getitem__, default=None) for x, grades in enumerate(reached)]


def with_probabilities(predictions, p):
    columns = {f"p{grade}{view}": p[:, grade] for grade in range(5) for view in ("", "_flip")}
    return predictions.iloc[: len(p)].assign(**columns, pred=p.argmax(1), pred_flip=p.argmax(1))


def flipped(predictions, share, steps, seed=0):
    """Predictions in which a share of the knees carries a grade `steps` away, and which knees those are."""
    rng = np.random.default_rng(seed)
    kl = predictions["kl"].to_numpy()
    wrong = rng.random(len(kl)) < share
    away = np.where(rng.random(len(kl)) < 0.5, kl + steps, kl - steps)
    away = np.where((away < 0) | (away > 4), 2 * kl - away, away)
    wrong &= (away >= 0) & (away <= 4)
    return predictions.assign(kl=np.where(wrong, away, kl)), wrong


def test_a_model_as_sure_of_every_knee_alike_suspects_none_of_them(predictions):
    p = np.full((30, 5), 0.1, np.float32)
    p[np.arange(30), predictions["kl"][:30]] = 0.6
    assert not find_label_issues(with_probabilities(predictions, p))["suspect"].any()


@pytest.mark.parametrize("never_given", [(), (1, 4), (0, 3)])
def test_every_knee_is_listed_once_with_its_own_probabilities_and_the_suspects_are_those_of_the_definition(
    predictions, never_given
):
    predictions = predictions[~predictions["kl"].isin(never_given)]
    table = find_label_issues(predictions)
    p, kl = probabilities(predictions), predictions["kl"].to_numpy()
    latent = by_definition(p, kl)
    knees = zip(predictions["knee_id"], latent, kl, strict=True)
    expected = {knee: grade for knee, grade, given in knees if grade not in (None, given)}
    found = table[table["suspect"]]
    assert sorted(table["knee_id"]) == sorted(predictions["knee_id"])
    assert 0 < len(expected) < len(predictions)
    assert dict(zip(found["knee_id"], found["proposed"], strict=True)) == expected
    p = dict(zip(predictions["knee_id"], p, strict=True))
    for knee in table.itertuples():
        assert knee.self_confidence == p[knee.knee_id][knee.kl]
        assert knee.lead == p[knee.knee_id][knee.proposed] - p[knee.knee_id][knee.kl]
        assert knee.steps == abs(knee.kl - knee.proposed) > 0
        if not knee.suspect:
            assert p[knee.knee_id][knee.proposed] == max(np.delete(p[knee.knee_id], knee.kl))


def test_suspects_come_first_by_lead_and_knees_that_tie_keep_their_order(predictions):
    once = with_probabilities(predictions, np.tile(probabilities(predictions)[:6], (4, 1)))
    once["kl"] = np.tile(predictions["kl"].to_numpy()[:6], 4)
    table = find_label_issues(once).merge(once[["knee_id"]].assign(row=range(24)), on="knee_id")
    key = list(zip(~table["suspect"], -table["lead"], table["row"], strict=True))
    assert len(set(table["lead"])) <= 6
    assert key == sorted(key)


@pytest.mark.parametrize(("share", "steps"), [(0.05, 2), (0.1, 2), (0.05, 3), (0.08, 1)])
def test_knees_with_a_flipped_label_rank_before_the_others(make_predictions, share, steps):
    knees = make_predictions(600, seed=5, noise=0.3)
    if steps == 1:  # one step is found only where the model sees well
        knees = make_predictions(600, seed=6, noise=0.15).assign(kl=lambda sharp: sharp["pred"])
    table, wrong = flipped(knees, share, steps)
    ranked = find_label_issues(table)["knee_id"]
    place = pd.Series(range(len(ranked)), index=ranked).loc[table["knee_id"]]
    assert roc_auc_score(wrong, -place) > 0.9


def test_the_knee_its_mirror_image_changes_most_is_the_most_unstable(predictions):
    table = unstable(predictions)
    p, q = probabilities(predictions), probabilities(predictions, "_flip")
    change = dict(zip(predictions["knee_id"], [sum(abs(knee)) / 2 for knee in p - q], strict=True))
    assert list(table["flip_change"]) == pytest.approx([change[knee] for knee in table["knee_id"]])
    assert list(table["knee_id"]) == sorted(change, key=lambda knee: -change[knee])
    # a model that sees no difference in mirror images keeps the order of the knees
    table = unstable(with_probabilities(predictions, probabilities(predictions)))
    assert list(table["knee_id"]) == list(predictions["knee_id"])
    assert (table["flip_change"] == 0).all()


def answers_of(predictions, change=()):
    """Three sure views of each knee that repeat its grade; in the rows of `change` one view says another."""
    views = np.eye(5)[predictions["pred"].to_numpy(int)][:, None].repeat(3, 1)
    for row in change:
        views[row, 1] = np.roll(views[row, 1], 1)
    return views


def test_only_a_knee_whose_every_view_says_what_the_knee_itself_does_keeps_its_grade(predictions):
    table = prediction_robustness(predictions, answers_of(predictions, change=[4, 7]))
    assert list(np.flatnonzero(~table["keeps"])) == [4, 7]
    assert (table.loc[[4, 7], "given"] == 2).all()
    others = np.roll(answers_of(predictions), 1, axis=-1)
    assert not prediction_robustness(predictions, others)["keeps"].any()


def test_spread_is_the_standard_deviation_of_the_expected_grade(predictions):
    rng = np.random.default_rng(3)
    answers = rng.dirichlet(np.ones(5), (len(predictions), 4))
    by_hand = [np.std([np.dot(view, range(5)) for view in knee], ddof=1) for knee in answers]
    assert prediction_robustness(predictions, answers)["spread"].to_numpy() == pytest.approx(np.array(by_hand))


def test_an_interval_of_shares_is_wider_when_both_knees_of_a_patient_go_together():
    told = np.repeat(np.random.default_rng(0).random(100) < 0.6, 2)
    alone = share_with_interval(told, np.arange(200))
    paired = share_with_interval(told, np.repeat(np.arange(100), 2))
    assert alone[0] == paired[0] == told.mean()
    assert paired[2] - paired[1] > 1.2 * (alone[2] - alone[1])


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (None, 1, 5), (None, 3, 4)])
def test_answers_that_do_not_fit_are_refused(predictions, shape):
    shape = tuple(len(predictions) if size is None else size for size in shape)
    with pytest.raises(KoaError, match="do not fit"):
        prediction_robustness(predictions, np.full(shape, 0.2))


def test_the_figure_names_every_grade_and_shows_each_share(predictions):
    answers = answers_of(predictions, change=range(0, len(predictions), 2))
    left = robustness_figure(prediction_robustness(predictions, answers)).axes[0]
    assert [text.get_text().split("\n")[0] for text in left.get_xticklabels()] == ["KL0", "KL1", "KL2", "KL3", "KL4"]
    assert any(text.get_text().endswith("%") for text in left.texts)
