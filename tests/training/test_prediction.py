"""A few radiographs get what the cohort they are of gets, side handled as in training."""

import numpy as np
import pytest

from koa_kit.model import make_model
from koa_kit.phantom import KneeFeatures, draw_knee, phantom_cohort
from koa_kit.training.prediction import grade_images, predict


@pytest.mark.parametrize("canonical_side", [False, True])
def test_single_radiographs_get_the_grades_of_a_cohort(canonical_side):
    cohort, model = phantom_cohort(4, size=96, seed=2), make_model("koa-tiny", seed=1)
    table = predict(model, cohort, canonical_side=canonical_side)[0]
    alone = grade_images(model, cohort.images, cohort.table["side"], canonical_side=canonical_side)
    np.testing.assert_allclose(alone, table[[f"p{grade}" for grade in range(5)]], atol=1e-5)


def test_with_canonical_sides_a_left_knee_is_graded_like_its_right_twin():
    model = make_model("koa-tiny", seed=1)
    pair = np.stack([draw_knee(KneeFeatures(), side=side, size=model.towers.image_size) for side in "LR"])
    left, right = grade_images(model, pair, ["L", "R"], canonical_side=True)
    np.testing.assert_allclose(left, right, atol=1e-6)
