"""The pictures of record show the numbers of the table they were drawn from."""

import json
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from simulated_predictions import trained

from koa_kit import error_analysis as ea
from koa_kit.error_analysis.predictions import similarities
from koa_kit.error_analysis.statistics.seed_figures import arms_figure, recall_against_accuracy_figure
from koa_kit.error_analysis.statistics.seeds import compare_arms, seed_values
from koa_kit.errors import KoaError
from koa_kit.style import ACCENT, GRADE_COLOURS, INK, use_style


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_confusion_figure_shows_every_count_and_its_share_of_the_row(predictions):
    counts = ea.confusion(predictions)
    ax = ea.confusion_figure(predictions)
    shown = [int(text.split("\n")[0]) for text in texts(ax)]
    assert shown == counts.to_numpy().ravel().tolist()
    assert texts(ax)[6].endswith(f"{counts.loc[1, 1] / counts.loc[1].sum():.0%}")


def test_the_early_grades_keep_a_column_for_the_others_and_a_row_without_knees_has_no_share(predictions):
    ax = ea.confusion_figure(predictions[predictions["kl"] != 2], grades=(0, 1, 2))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["KL0", "KL1", "KL2", "other"]
    assert len(texts(ax)) == 12
    assert texts(ax)[-4:] == ["–"] * 4


def test_recall_bars_are_as_high_as_the_recall_and_absent_grades_say_so(predictions):
    knees = predictions[predictions["kl"] != 4]
    ax = ea.recall_figure(knees, draws=100)
    expected = ea.metric_intervals(knees, metrics=[f"kl{grade}_recall" for grade in range(4)], draws=100)["value"]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(list(expected))
    assert "no such\nknee" in texts(ax)


def test_similarity_means_are_those_of_each_grades_knees(predictions):
    shown = [float(text.replace("−", "-")) for text in texts(ea.similarity_figure(predictions))]
    means = [similarities(predictions)[predictions["kl"] == grade].mean(0) for grade in range(5)]
    np.testing.assert_allclose(np.reshape(shown, (5, 5)), means, atol=0.051)


def test_the_kl1_figure_counts_all_kl1_knees_on_the_left_and_the_missed_on_the_right(predictions):
    left, right = ea.kl1_figure(predictions).axes
    kl1 = predictions[predictions["kl"] == 1]
    assert sum(bar.get_height() for bar in left.patches) == len(kl1)
    assert f"{(kl1['pred'] != 1).sum()} misses" in right.get_title()


def test_the_kl1_figure_says_so_when_nothing_was_missed_or_there_is_no_kl1(predictions):
    _, right = ea.kl1_figure(predictions.assign(pred=predictions["kl"])).axes
    assert texts(right) == ["No KL1 knee was given another grade."]
    left, _ = ea.kl1_figure(predictions[predictions["kl"] != 1]).axes
    assert left.get_title().startswith("0 knees")


def test_the_flip_figure_rings_the_knees_that_change_grade(predictions):
    ax = ea.flip_figure(predictions)
    changed = (predictions["pred"] != predictions["pred_flip"]).sum()
    assert len(ax.collections[-1].get_offsets()) == changed
    assert ax.get_title().startswith(f"{changed / len(predictions):.0%} ")


def test_the_reliability_figure_has_a_point_a_bin_with_knees(predictions):
    title = ea.reliability_figure(predictions).get_title()
    assert title == f"Expected calibration error {ea.compute_metrics(predictions)['ece']:.3f}"
    ax = ea.reliability_figure(predictions, bins=5)
    assert 1 <= len(ax.collections[-1].get_offsets()) <= 5


def test_the_comparison_has_a_panel_a_metric_and_a_line_a_method(predictions):
    table = ea.compare({"plain": predictions, "flip averaged": ea.flip_averaged(predictions)}, draws=50)
    figure = ea.comparison_figure(table, metrics=["accuracy", "qwk"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Accuracy", "Quadratic weighted kappa"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plain", "flip averaged"]
    with pytest.raises(KoaError, match="mae"):
        ea.comparison_figure(table, metrics=["mae"])


def test_the_gallery_shows_each_knee_with_its_own_image_and_both_grades(predictions, images):
    knees = ea.confused(predictions)
    figure = ea.gallery_figure(images[knees.index], knees, limit=3, title="Confused")
    pictures, bars = figure.axes[0::2], figure.axes[1::2]
    assert len(pictures) == len(bars) == 3
    for ax, (row, knee) in zip(pictures, knees.iterrows(), strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), images[row])
        assert ax.get_title(loc="left") == f"KL{knee['kl']} → KL{knee['pred']}"
        assert ax.get_title(loc="right") == knee["knee_id"]
    assert all(len(ax.patches) == 5 for ax in bars)


def test_a_gallery_of_no_knee_or_of_other_images_is_refused(predictions, images):
    for knees, what in ((predictions.iloc[:0], "no knee"), (predictions.iloc[:4], "do not fit")):
        with pytest.raises(KoaError, match=what):
            ea.gallery_figure(images, knees)


def test_confused_knees_come_in_the_order_asked_for(predictions):
    sure = ea.confused(predictions, 0, sort="confident")
    top = sure[[f"p{grade}" for grade in range(5)]].max(axis=1)
    assert (sure["kl"] == 0).all()
    assert top.is_monotonic_decreasing
    assert (ea.confused(predictions)["kl"] != ea.confused(predictions)["pred"]).all()
    for wrong in ({"true": 5}, {"sort": "luck"}):
        with pytest.raises(KoaError):
            ea.confused(predictions, **wrong)


def test_the_scatter_holds_every_knee_once_in_a_small_figure(make_predictions):
    knees = make_predictions(413)
    figure = ea.similarity_scatter(knees)
    assert type(figure).__name__ == "Figure"
    names = [told[0] for trace in figure.data for told in trace.customdata]
    assert sorted(names) == sorted(knees["knee_id"])
    assert len(figure.to_json()) < 100_000
    first = json.loads(figure.to_json())["data"][0]
    own = knees.set_index("knee_id").loc[first["customdata"][0][0]]
    expected = sum(grade * own[f"p{grade}"] for grade in range(5))
    assert first["x"][0] == pytest.approx(expected, abs=1e-3)


def grid(knees, shares, seeds):
    """Rows by name, each with the share of knees its trainings get wrong."""
    return {
        name: {seed: trained(knees, [place, seed], wrong) for seed in range(seeds)}
        for place, (name, wrong) in enumerate(shares.items())
    }


@pytest.fixture
def rows(predictions):
    return grid(predictions, {"plain": 0.4, "symmetry": 0.1, "flip": 0.39}, 2)


@pytest.fixture
def ten_long_rows(predictions):
    shares = {f"a way of left and right, no. {place:02d}": 0.05 + 0.08 * place for place in range(10)}
    return grid(predictions, shares, 3)


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def overlapping(figure, texts) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    return [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]


def test_the_rows_figure_has_a_panel_a_metric_and_every_rows_name_from_the_top(rows):
    table = compare_arms(rows, draws=50)
    figure = arms_figure(table, seed_values(rows), metrics=("accuracy", "kl1_recall"))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Accuracy", "KL1 recall"]
    assert names(figure.axes[0]) == list(rows)
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top
    assert len(arms_figure(table).axes) == 3
    for wrong in (("mae",), ()):
        with pytest.raises(KoaError, match="no metric"):
            arms_figure(table, metrics=wrong)


def test_dots_intervals_and_labels_of_the_rows_figure_are_the_comparisons(rows):
    table, each = compare_arms(rows, draws=50), seed_values(rows)
    ax = arms_figure(table, each, ["qwk"]).axes[0]
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
    table = compare_arms(rows, draws=400)
    table.loc[table["row"] == "flip", ["p", "p_holm"]] = 0.04, 0.06
    ax = arms_figure(table, metrics=["accuracy"]).axes[0]
    assert [line.get_color() for line in ax.lines[2::2]] == [INK, ACCENT, GRADE_COLOURS[0]]


def test_a_metric_these_knees_cannot_tell_is_a_dash_or_refused(predictions):
    rows = {"plain": {0: predictions[predictions["kl"] != 1]}}
    ax = arms_figure(compare_arms(rows, draws=50), metrics=["kl1_recall"]).axes[0]
    assert texts(ax) == ["–"]
    with pytest.raises(KoaError, match="No knee is KL1"):
        recall_against_accuracy_figure(rows)


def test_ten_rows_with_long_names_can_be_read_in_both_figures(ten_long_rows):
    use_style()
    figure = arms_figure(compare_arms(ten_long_rows, draws=50), seed_values(ten_long_rows))
    texts = [*figure.axes[0].get_yticklabels(), figure.texts[-1]]
    for ax in figure.axes:
        texts += [*ax.texts, ax._left_title, *ax.get_xticklabels()[1:-1]]
    assert overlapping(figure, texts) == []
    inside, boxes = figure.bbox.padded(1), [text.get_window_extent() for text in texts]
    assert all(inside.containsx(box.x0) and inside.containsx(box.x1) for box in boxes)
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
    own = Figure().subplots()
    assert recall_against_accuracy_figure(ten_long_rows, ax=own) is own
    large = own.collections[1::2]
    assert len({(tuple(dot.get_facecolor()[0]), dot.get_paths()[0].vertices.tobytes()) for dot in large}) == 10
