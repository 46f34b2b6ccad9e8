"""How near the grade descriptions lie to each other."""

import numpy as np

from koa_kit.model import build_model, make_towers
from koa_kit.model.figures import encode_prompts, prompt_similarity_figure, trained_prompts


def test_encoded_prompts_are_unit_vectors_and_an_ensemble_is_their_mean():
    towers = make_towers("lite0-minilm")
    single = encode_prompts(towers, ["none", "doubtful", "minimal", "moderate", "severe"])
    doubled = encode_prompts(towers, [["none", "none"], "doubtful", "minimal", "moderate", "severe"])
    np.testing.assert_allclose(np.linalg.norm(single, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(single, doubled, atol=1e-5)


def test_the_definitions_order_the_grades_better_than_the_template_does():
    towers = make_towers("lite0-minilm")
    cosines = {name: (v := encode_prompts(towers, name)) @ v.T for name in ("paper", "kellgren-lawrence")}
    spread = {name: np.diag(c, 1).mean() - c[0, 4] for name, c in cosines.items()}
    assert spread["kellgren-lawrence"] > spread["paper"]


def test_the_heat_map_shows_the_cosines():
    vectors = trained_prompts(build_model())
    figure = prompt_similarity_figure({"before training": vectors})
    shown = np.array([float(text.get_text()) for text in figure.axes[0].texts]).reshape(5, 5)
    np.testing.assert_allclose(shown, vectors @ vectors.T, atol=0.0051)
