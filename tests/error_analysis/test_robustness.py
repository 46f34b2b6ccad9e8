"""A knee that gets one grade however it lies keeps it; one that does not, does not."""

import numpy as np
import pytest

from koa_kit.error_analysis.robustness import steadiness, steadiness_figure
from koa_kit.error_analysis.statistics.shares import share_with_interval
from koa_kit.errors import KoaError


def answers_of(predictions, change=()):
    """Three sure views of each knee that repeat its grade; in the rows of `change` one view says another."""
    views = np.eye(5)[predictions["pred"].to_numpy(int)][:, None].repeat(3, 1)
    for row in change:
        views[row, 1] = np.roll(views[row, 1], 1)
    return views


def test_only_a_knee_whose_every_view_says_the_same_keeps_its_grade(predictions):
    table = steadiness(predictions, answers_of(predictions, change=[4, 7]))
    assert list(np.flatnonzero(~table["keeps"])) == [4, 7]
    assert (table.loc[[4, 7], "given"] == 2).all()


def test_views_that_agree_with_each_other_and_not_with_the_knee_itself_do_not_keep_it(predictions):
    answers = np.roll(answers_of(predictions), 1, axis=-1)
    assert not steadiness(predictions, answers)["keeps"].any()


def test_spread_is_the_standard_deviation_of_the_expected_grade(predictions):
    rng = np.random.default_rng(3)
    answers = rng.dirichlet(np.ones(5), (len(predictions), 4))
    by_hand = [np.std([np.dot(view, range(5)) for view in knee], ddof=1) for knee in answers]
    assert steadiness(predictions, answers)["spread"].to_numpy() == pytest.approx(np.array(by_hand))


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
        steadiness(predictions, np.full(shape, 0.2))


def test_the_figure_names_every_grade_and_shows_each_share(predictions):
    figure = steadiness_figure(steadiness(predictions, answers_of(predictions, change=range(0, len(predictions), 2))))
    left = figure.axes[0]
    assert [text.get_text().split("\n")[0] for text in left.get_xticklabels()] == ["KL0", "KL1", "KL2", "KL3", "KL4"]
    assert any(text.get_text().endswith("%") for text in left.texts)
