"""The pictures of record show the numbers of the table they were drawn from."""

import json

import numpy as np
import pytest

from koa_kit.error_analysis import (
    compare,
    comparison_figure,
    confused,
    confusion,
    confusion_figure,
    flip_averaged,
    flip_figure,
    gallery_figure,
    intervals,
    kl1_figure,
    recall_figure,
    reliability_figure,
    similarity_figure,
    similarity_scatter,
)
from koa_kit.error_analysis.predictions import similarities
from koa_kit.errors import KoaError


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_confusion_figure_shows_every_count_and_its_share_of_the_row(predictions):
    counts = confusion(predictions)
    ax = confusion_figure(predictions)
    shown = [int(text.split("\n")[0]) for text in texts(ax)]
    assert shown == counts.to_numpy().ravel().tolist()
    assert texts(ax)[6].endswith(f"{counts.loc[1, 1] / counts.loc[1].sum():.0%}")


def test_the_early_grades_keep_a_column_for_the_others(predictions):
    ax = confusion_figure(predictions, grades=(0, 1, 2))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["KL0", "KL1", "KL2", "other"]
    assert len(texts(ax)) == 12


def test_a_row_without_knees_has_no_share(predictions):
    ax = confusion_figure(predictions[predictions["kl"] != 4])
    assert texts(ax)[-5:] == ["–"] * 5


def test_recall_bars_are_as_high_as_the_recall_and_absent_grades_say_so(predictions):
    knees = predictions[predictions["kl"] != 4]
    ax = recall_figure(knees, draws=100)
    expected = intervals(knees, metrics=[f"kl{grade}_recall" for grade in range(4)], draws=100)["value"]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(list(expected))
    assert "no such\nknee" in texts(ax)


def test_similarity_means_are_those_of_each_grades_knees(predictions):
    shown = [float(text.replace("−", "-")) for text in texts(similarity_figure(predictions))]
    means = [similarities(predictions)[predictions["kl"] == grade].mean(0) for grade in range(5)]
    np.testing.assert_allclose(np.reshape(shown, (5, 5)), means, atol=0.051)


def test_the_kl1_figure_counts_all_kl1_knees_on_the_left_and_the_missed_on_the_right(predictions):
    left, right = kl1_figure(predictions).axes
    kl1 = predictions[predictions["kl"] == 1]
    assert sum(bar.get_height() for bar in left.patches) == len(kl1)
    assert f"{(kl1['pred'] != 1).sum()} misses" in right.get_title()


def test_the_kl1_figure_says_so_when_nothing_was_missed_or_there_is_no_kl1(predictions):
    _, right = kl1_figure(predictions.assign(pred=predictions["kl"])).axes
    assert texts(right) == ["No KL1 knee was given another grade."]
    left, _ = kl1_figure(predictions[predictions["kl"] != 1]).axes
    assert left.get_title().startswith("0 knees")


def test_the_flip_figure_rings_the_knees_that_change_grade(predictions):
    ax = flip_figure(predictions)
    changed = (predictions["pred"] != predictions["pred_flip"]).sum()
    assert len(ax.collections[-1].get_offsets()) == changed
    assert ax.get_title().startswith(f"{changed / len(predictions):.0%} ")


def test_the_reliability_figure_has_a_point_a_bin_with_knees(predictions):
    ax = reliability_figure(predictions, bins=5)
    assert ax.get_title().startswith("Expected calibration error 0.")
    assert 1 <= len(ax.collections[-1].get_offsets()) <= 5


def test_the_comparison_has_a_panel_a_metric_and_a_line_a_method(predictions):
    table = compare({"plain": predictions, "flip averaged": flip_averaged(predictions)}, draws=50)
    figure = comparison_figure(table, metrics=["accuracy", "qwk"])
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes] == [
        "Accuracy", "Quadratic weighted kappa",
    ]  # fmt: skip
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plain", "flip averaged"]
    with pytest.raises(KoaError, match="mae"):
        comparison_figure(table, metrics=["mae"])


def test_the_gallery_shows_each_knee_with_its_own_image_and_both_grades(predictions, images):
    knees = confused(predictions)
    figure = gallery_figure(images[knees.index], knees, limit=3, title="Confused")
    pictures, bars = figure.axes[0::2], figure.axes[1::2]
    assert len(pictures) == len(bars) == 3
    for ax, (row, knee) in zip(pictures, knees.iterrows(), strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), images[row])
        assert ax.get_title(loc="left") == f"KL{knee['kl']} → KL{knee['pred']}"
        assert ax.get_title(loc="right") == knee["knee_id"]
    assert all(len(ax.patches) == 5 for ax in bars)


def test_a_gallery_of_no_knee_or_of_other_images_is_refused(predictions, images):
    with pytest.raises(KoaError, match="no knee"):
        gallery_figure(images[:0], predictions.iloc[:0])
    with pytest.raises(KoaError, match="do not fit"):
        gallery_figure(images, predictions.iloc[:4])


def test_confused_knees_come_in_the_order_asked_for(predictions):
    sure = confused(predictions, 0, sort="confident")
    top = sure[[f"p{grade}" for grade in range(5)]].max(axis=1)
    assert (sure["kl"] == 0).all()
    assert top.is_monotonic_decreasing
    assert (confused(predictions)["kl"] != confused(predictions)["pred"]).all()
    for wrong in ({"true": 5}, {"sort": "luck"}):
        with pytest.raises(KoaError):
            confused(predictions, **wrong)


def test_the_scatter_holds_every_knee_once_in_a_small_figure(make_predictions):
    knees = make_predictions(413)
    figure = similarity_scatter(knees)
    assert type(figure).__name__ == "Figure"
    names = [told[0] for trace in figure.data for told in trace.customdata]
    assert sorted(names) == sorted(knees["knee_id"])
    assert len(figure.to_json()) < 100_000
    first = json.loads(figure.to_json())["data"][0]
    own = knees.set_index("knee_id").loc[first["customdata"][0][0]]
    expected = sum(grade * own[f"p{grade}"] for grade in range(5))
    assert first["x"][0] == pytest.approx(expected, abs=1e-3)
