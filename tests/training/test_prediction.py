"""A few radiographs get what the cohort they are of gets, each shown from the side the model knows."""

import numpy as np
import pandas as pd
import pytest

from koa_kit.errors import KoaError
from koa_kit.grades import RULES
from koa_kit.model import build_model
from koa_kit.model.export import export_graph
from koa_kit.model.graph import GraphGrader
from koa_kit.phantom import KneeFeatures, draw_knee, phantom_cohort
from koa_kit.training import TrainConfig, fit, load_run
from koa_kit.training.prediction import predict


@pytest.mark.parametrize("canonical_side", [False, True])
@pytest.mark.parametrize("flip_pooling", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_single_radiographs_get_the_grades_of_a_cohort(canonical_side, flip_pooling, rule):
    cohort = phantom_cohort(4, size=96, seed=2)
    model = build_model(seed=1, canonical_side=canonical_side, flip_pooling=flip_pooling, rule=rule)
    table = predict(model, cohort)[0]
    grades, alone = model.predict(cohort.images, cohort.table["side"])
    np.testing.assert_allclose(alone, table[[f"p{grade}" for grade in range(5)]], atol=1e-5)
    np.testing.assert_array_equal(grades, table["pred"])


def test_a_model_with_a_canonical_side_grades_a_left_knee_like_its_right_twin():
    model = build_model(seed=1, canonical_side=True)
    pair = np.stack([draw_knee(KneeFeatures(), side=side, size=model.spec.image_size) for side in "LR"])
    left, right = model.predict(pair, ["L", "R"])[1]
    np.testing.assert_allclose(left, right, atol=1e-6)
    other, same = model.predict(pair, ["R", "R"])[1]
    np.testing.assert_allclose(same, right, atol=1e-6)
    assert abs(other - same).max() > 1e-4, "a side that changes nothing tests nothing"


def test_colour_radiographs_are_refused():
    with pytest.raises(KoaError, match=r"\(N, H, W\)"):
        build_model().predict(np.zeros((2, 64, 64, 3), np.uint8), "RR")


@pytest.mark.parametrize("sides", [["L"], ["L", "left"], "LR?"])
def test_sides_that_do_not_fit_the_radiographs_are_refused(sides):
    with pytest.raises(KoaError, match="side of each image"):
        build_model().predict(np.zeros((2, 64, 64), np.uint8), sides)


def test_an_exported_run_grades_by_its_graph_and_as_before(knees, tmp_path):
    run = fit(knees, TrainConfig(image_size=32, epochs=1, batch_size=20), tmp_path)
    images, sides = knees.images[:6], knees.table["side"][:6]
    before = run.grade(images, sides)
    assert run.grader is run.model
    export_graph(tmp_path)
    again = load_run(tmp_path)
    assert isinstance(again.grader, GraphGrader)
    pd.testing.assert_frame_equal(again.grade(images, sides), before, atol=1e-3)
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(KoaError, match="its bytes differ"):
        load_run(tmp_path).grade(images, sides)


WRONG_FILMS = {
    "colour pixels": (lambda film: np.stack(3 * [film], -1), "L", r"shape \(\d+, 3\)"),
    "bytes of a file": (lambda film: b"\x89PNG" + bytes(500), "L", r"Radiographs are whole grey levels|\(N, H, W\)"),
    "an absent file": (lambda film: "nowhere.png", "L", "nowhere"),
    "too few sides": (lambda film: [film, film], ["L"], "2 images, sides"),
    "a side in words": (lambda film: film, "left", r"sides \['left'\]"),
    "no side": (lambda film: film, None, r"sides \['None'\]"),
    "nothing": (lambda film: [], [], "no radiograph"),
}


@pytest.mark.parametrize("what", WRONG_FILMS)
def test_what_is_no_radiograph_or_has_no_side_is_refused_in_words_that_fit(what, canonical_run, knees):
    make, sides, said = WRONG_FILMS[what]
    with pytest.raises(KoaError, match=said):
        canonical_run.grade(make(np.array(knees.images[0])), sides)


def test_one_film_is_graded_as_among_several(canonical_run, knees):
    alone = canonical_run.grade(np.array(knees.images[0]), "L")
    among = canonical_run.grade(list(knees.images[:3]), ["L", "R", "L"])
    pd.testing.assert_frame_equal(alone, among[:1], atol=1e-5)
    assert alone.loc[0, "name"].startswith(f"KL{alone.loc[0, 'grade']} ")


@pytest.fixture(scope="module")
def canonical_run(knees, tmp_path_factory):
    return fit(knees, TrainConfig(image_size=32, epochs=1, batch_size=20), tmp_path_factory.mktemp("run"))
