"""What notebooks 03 and 04 draw: the numbers behind the pictures."""

import numpy as np
import torch

from koa_kit.losses import clip_koa_loss, consistency_loss, prompt_cross_entropy
from koa_kit.training.figures import consistency_curves_figure, descend, descent_figure, history_figure, pairs_figure

RNG = np.random.default_rng(0)
LOGITS, KL = RNG.normal(0, 2, (6, 2, 5)), np.array([0, 1, 1, 2, 3, 4])


def true_probability(path):
    return torch.softmax(torch.from_numpy(path), -1).numpy()[:, np.arange(6), :, KL].mean(0)


def test_cross_entropy_leaves_the_mirror_image_alone():
    path = descend(LOGITS, KL, lambda a, b, y: clip_koa_loss(a, None, y, symmetry=0, consistency=0).total + 0 * b.sum())
    np.testing.assert_array_equal(path[-1][:, 1], LOGITS[:, 1])
    assert true_probability(path)[-1, 0] > true_probability(path)[0, 0] + 0.2


def test_symmetry_raises_the_true_grade_in_both_views():
    path = descend(LOGITS, KL, lambda a, b, y: prompt_cross_entropy(a, y) + prompt_cross_entropy(b, y))
    assert (true_probability(path)[-1] > true_probability(path)[0] + 0.2).all()


def test_consistency_alone_makes_the_views_agree_and_need_not_be_right():
    path = descend(LOGITS, KL, lambda a, b, y: consistency_loss(a, b), steps=400)
    np.testing.assert_allclose(path[-1][:, 0], path[-1][:, 1], atol=1e-3)
    np.testing.assert_allclose(path[-1].mean(1), LOGITS.mean(1), atol=1e-9)


def test_pictures_show_what_they_were_given(knees):
    six = knees.take(np.arange(6))
    figure = pairs_figure(six, LOGITS)
    assert [ax.get_title("center") for ax in figure.axes[:6]] == [
        f"KL{row.kl} · {row.side}" for row in six.table.itertuples()
    ]
    heights = [patch.get_height() for patch in figure.axes[12].patches if 0 < patch.get_width() < 0.5]
    np.testing.assert_allclose(heights[:5], torch.softmax(torch.from_numpy(LOGITS[0, 0]), -1), atol=1e-9)


def test_curves_carry_the_names_of_runs_and_forms():
    import pandas as pd

    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.6, 1.2], "val_qwk": [0.1, 0.4]})
    figure = history_figure({"plain": history, "symmetry": history})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "symmetry"]
    labels = [line.get_label() for line in consistency_curves_figure().get_lines()]
    assert labels == ["mse logits", "mse probabilities", "l1", "symmetric kl", "jensen shannon"]
    path = descend(LOGITS, KL, lambda a, b, y: consistency_loss(a, b), steps=3)
    line = descent_figure({"consistency": path}, KL).axes[0].get_lines()[1]
    np.testing.assert_allclose(line.get_ydata(), true_probability(path)[:, 1])
