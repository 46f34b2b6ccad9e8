"""The pictures of a grid show the numbers of its comparison, and every row can be read."""

from itertools import combinations

import numpy as np
import pytest
from simulated_predictions import trained

from koa_kit.error_analysis.statistics.seed_figures import recall_against_accuracy_figure, rows_figure
from koa_kit.error_analysis.statistics.seeds import compare_rows, seed_values
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, GRADE_COLOURS, INK, use_style


@pytest.fixture
def rows(predictions):
    shares = {"plain": 0.4, "symmetry": 0.1, "flip": 0.39}
    return {
        name: {seed: trained(predictions, [place, seed], wrong) for seed in (0, 1)}
        for place, (name, wrong) in enumerate(shares.items())
    }


@pytest.fixture
def ten_long_rows(predictions):
    return {
        f"a way of left and right, no. {place:02d}": {
            seed: trained(predictions, [place, seed], 0.05 + 0.08 * place) for seed in range(3)
        }
        for place in range(10)
    }


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def overlapping(figure, texts) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    return [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]


def test_the_rows_figure_has_a_panel_a_metric_and_every_rows_name_from_the_top(rows):
    table = compare_rows(rows, draws=50)
    figure = rows_figure(table, seed_values(rows), metrics=("accuracy", "kl1_recall"))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Accuracy", "KL1 recall"]
    assert names(figure.axes[0]) == list(rows)
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top
    assert len(rows_figure(table).axes) == 3
    for wrong in (("mae",), ()):
        with pytest.raises(KoaError, match="no metric"):
            rows_figure(table, metrics=wrong)


def test_dots_intervals_and_labels_of_the_rows_figure_are_the_comparisons(rows):
    table, each = compare_rows(rows, draws=50), seed_values(rows)
    ax = rows_figure(table, each, ["qwk"]).axes[0]
    own = table[table["metric"] == "qwk"].set_index("row")
    line, *drawn = ax.lines
    assert list(line.get_xdata()) == [own.loc["plain", "value"]] * 2
    for place, row in enumerate(own.itertuples()):
        interval, dot = drawn[2 * place : 2 * place + 2]
        assert list(interval.get_xdata()) == [row.low, row.high]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (row.value, place)
        assert ax.texts[place].get_text() == f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
    dots = ax.collections[0].get_offsets()
    assert sorted(dots[:, 0]) == sorted(each.loc[each["metric"] == "qwk", "value"])
    assert list(np.round(dots[:, 1])) == [0, 0, 1, 1, 2, 2]


def test_only_a_row_that_differs_after_holm_is_orange(rows):
    table = compare_rows(rows, draws=400)
    table.loc[table["row"] == "flip", ["p", "p_holm"]] = 0.04, 0.06
    ax = rows_figure(table, metrics=["accuracy"]).axes[0]
    assert [line.get_color() for line in ax.lines[2::2]] == [INK, ACCENT, GRADE_COLOURS[0]]


def test_a_metric_these_knees_cannot_tell_is_a_dash(predictions):
    knees = predictions[predictions["kl"] != 1]
    ax = rows_figure(compare_rows({"plain": {0: knees}}, draws=50), metrics=["kl1_recall"]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["–"]


def test_ten_rows_with_long_names_can_be_read_in_both_figures(ten_long_rows):
    use_style()
    figure = rows_figure(compare_rows(ten_long_rows, draws=50), seed_values(ten_long_rows))
    texts = [*figure.axes[0].get_yticklabels(), figure.texts[-1]]
    for ax in figure.axes:
        texts += [*ax.texts, ax._left_title, *ax.get_xticklabels()[1:-1]]
    assert overlapping(figure, texts) == []
    inside = figure.bbox.padded(1)
    assert all(inside.containsx(text.get_window_extent().x0) for text in texts)
    assert all(inside.containsx(text.get_window_extent().x1) for text in texts)
    ax = recall_against_accuracy_figure(ten_long_rows)
    legend = ax.get_legend()
    assert overlapping(ax.figure, [*legend.get_texts(), ax._left_title]) == []
    assert legend.get_window_extent().x0 > ax.get_window_extent().x1
    assert legend.get_window_extent().x1 <= ax.figure.bbox.x1 + 1


def test_the_recall_figure_has_a_point_a_training_and_a_large_one_at_each_rows_mean(rows):
    ax = recall_against_accuracy_figure(rows)
    values = seed_values(rows).pivot(index=["row", "seed"], columns="metric", values="value")
    for place, row in enumerate(rows):
        each, mean = (collection.get_offsets() for collection in ax.collections[2 * place : 2 * place + 2])
        expected = values.loc[row, ["accuracy", "kl1_recall"]].to_numpy()
        np.testing.assert_allclose(each, expected)
        np.testing.assert_allclose(mean, [expected.mean(0)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(rows)


def test_rows_of_the_recall_figure_can_be_told_apart_and_it_draws_where_it_is_told(ten_long_rows):
    import matplotlib.pyplot as plt

    _, own = plt.subplots()
    ax = recall_against_accuracy_figure(ten_long_rows, ax=own)
    assert ax is own
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes()) for points in ax.collections[1::2]
    }
    assert len(looks) == 10


def test_knees_without_kl1_have_no_recall_to_draw(predictions):
    with pytest.raises(KoaError, match="No knee is KL1"):
        recall_against_accuracy_figure({"plain": {0: predictions[predictions["kl"] != 1]}})
