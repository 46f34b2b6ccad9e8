"""A model that looks at one bright spot is explained by that spot, wherever the film shows it."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from koa_kit.attribution.maps import METHODS, explain
from koa_kit.attribution.sanity import randomised_similarity, score_on_phantoms
from koa_kit.attribution.scores import UNION, hottest, score_table
from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.phantom import phantom_cohort, phantom_masks
from koa_kit.training.prediction import predict

PAIR = {"towards": 2, "rather_than": 1}


class SpotTower(nn.Module):
    """Cells of 8 x 8 pixels, lit where a film is far brighter than its mean; the first feature is how many are lit."""

    def __init__(self, learnt: bool = True):
        super().__init__()
        self.cells = nn.Conv2d(3, 1, 8, stride=8)
        self.cells.weight.data.fill_(1 / 192)
        self.cells.bias.data.fill_(-1.0)
        if not learnt:
            # no weight that could be drawn anew
            self.fixed, self.cells = [self.cells.requires_grad_(False)], nn.Conv2d(1, 1, 1, bias=False)
            self.cells.weight.data.fill_(1.0)

    def forward(self, pixels):
        lit = self.cells(self.fixed[0](pixels)) if hasattr(self, "fixed") else self.cells(pixels)
        counts = torch.relu(lit).mean((2, 3))
        return torch.cat([counts, 0 * counts.expand(-1, 63)], 1)


class PatchTransformer(nn.Module):
    """Patches become tokens at once, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 16, stride=16)
        self.layer = nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)

    def forward(self, pixels):
        return self.layer(self.patches(pixels).flatten(2).transpose(1, 2)).mean(1)


def model_with(tower, **options):
    """A model whose KL2 goes up, and KL1 down, with the first feature of this tower."""
    model = build_model(towers="koa-tiny", head="linear", **{"image_size": 96} | options)
    model.image_tower = tower
    with torch.no_grad():
        model.grade_layer.weight.zero_()
        model.grade_layer.weight[2, 0], model.grade_layer.weight[1, 0] = 5.0, -5.0
    return model.eval()


def film_with_spot(row, column, side=192):
    film = np.full((side, side), 40, np.uint8)
    film[row - 10 : row + 10, column - 10 : column + 10] = 230
    return film


@pytest.fixture(scope="module")
def phantoms():
    return phantom_cohort(4, size=96, seed=2)


@pytest.fixture(scope="module")
def tiny():
    return build_model(towers="koa-tiny", seed=1)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("crop", ["whole", "joint"])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_heat_lies_on_what_the_model_looks_at(method, mirror, crop, pooled):
    model = model_with(SpotTower(), crop=crop, flip_pooling=pooled)
    for row, column in ((60, 40), (130, 150)):
        heat = explain(model, film_with_spot(row, column), **PAIR, method=method, mirror=mirror).heat
        assert heat.shape == (192, 192)
        assert heat.dtype == np.float32
        found = hottest(heat)
        assert abs(found[0] - row) <= 14
        assert abs(found[1] - column) <= 14


@pytest.mark.parametrize("method", METHODS)
def test_there_is_no_heat_outside_of_what_the_model_sees(method, phantoms):
    model = build_model(towers="koa-tiny", crop="joint", seed=1)
    heat = explain(model, phantoms.images[0], **PAIR, method=method).heat
    assert (heat[:17] == 0).all()
    assert (heat[80:] == 0).all()
    assert (heat[17:80] != 0).any(1).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_the_difference_is_that_of_the_predictions(pooled, phantoms):
    model = build_model(flip_pooling=pooled, crop="joint", seed=1, canonical_side=True)
    table = predict(model, phantoms)[0]
    for row, (image, side) in enumerate(zip(phantoms.images, phantoms.table["side"], strict=True)):
        lead, alone = (explain(model, image, **grades, side=side).difference for grades in (PAIR, {"towards": 4}))
        assert lead == pytest.approx(table["s2"][row] - table["s1"][row], abs=1e-5)
        assert alone == pytest.approx(table["s4"][row], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_is_the_difference_of_both_grades_alone_and_asked_the_other_way_round_turns_the_sign(
    method, tiny, phantoms
):
    pairs = {"towards": 2, "rather_than": 1}, {"towards": 1, "rather_than": 2}, {"towards": 2}, {"towards": 1}
    one, other, *alone = (explain(tiny, phantoms.images[1], **grades, method=method) for grades in pairs)
    assert one.difference == pytest.approx(-other.difference, abs=1e-5)
    np.testing.assert_allclose(one.heat, -other.heat, atol=1e-4 * abs(one.heat).max())
    np.testing.assert_allclose(one.heat, alone[0].heat - alone[1].heat, atol=2e-3 * abs(alone[0].heat).max())


@pytest.mark.parametrize("side", [64, 80, 192, 250])
def test_integrated_gradients_add_up_to_what_a_film_of_any_size_has_over_the_blurred_film(side, tiny, phantoms):
    model, film = model_with(SpotTower()), film_with_spot(side // 2, side // 2, side)
    if side == 80:  # the tower's own size, so that nothing is resampled
        model, film = tiny, phantoms.images[3][:80, :80]
    found = explain(model, film, **PAIR, method="integrated_gradients")
    change = found.difference - found.baseline
    assert abs(found.gap) <= 0.05 * abs(change)
    assert found.heat.sum() == pytest.approx(change + found.gap, abs=1e-4, rel=0 if side == 80 else 0.05)


def test_occlusion_is_the_mean_loss_over_the_windows_that_cover_a_pixel(tiny, phantoms):
    film = phantoms.images[4][:80, :80]
    found = explain(tiny, film, **PAIR, method="occlusion")
    blurred = ndimage.gaussian_filter(film.astype(np.float32), 8, mode="nearest")

    def lead(picture):
        with torch.no_grad():
            logits = tiny.eval()(torch.tensor(picture)[None])[0]
        return float(logits[2] - logits[1])

    losses, windows = np.zeros((80, 80)), np.zeros((80, 80))
    for row in range(0, 71, 5):
        for column in range(0, 71, 5):
            window = np.s_[row : row + 10, column : column + 10]
            covered = film.astype(np.float32)
            covered[window] = blurred[window]
            losses[window] += lead(film.astype(np.float32)) - lead(covered)
            windows[window] += 1
    np.testing.assert_allclose(found.heat, losses / windows, atol=1e-5)
    assert found.baseline == pytest.approx(lead(blurred), abs=1e-5)
    assert np.isnan(found.gap)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_mirrored_knee_gets_the_mirrored_map_if_it_is_turned_first_or_both_views_are_averaged(
    method, pooled, phantoms
):
    model, film = build_model(towers="koa-tiny", flip_pooling=pooled, seed=1), phantoms.images[2 if pooled else 0]
    asked = explain(model, film, **PAIR, method=method, mirror=not pooled).heat
    twin = explain(model, np.ascontiguousarray(film[:, ::-1]), **PAIR, method=method).heat
    assert np.corrcoef(asked.ravel(), twin[:, ::-1].ravel())[0, 1] > 0.99
    assert np.corrcoef(asked.ravel(), twin.ravel())[0, 1] < 0.9


@pytest.mark.parametrize("locked", [("text",), ("image", "text"), ()])
@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was(method, locked, phantoms):
    model = build_model(locked=locked, seed=1)
    model.predict(phantoms.images[:2], "RL")
    model.train()
    model.image_projection.eval()
    before = deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    wanted = [weight.requires_grad for weight in model.parameters()]
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    explain(model, phantoms.images[0], **PAIR, method=method)
    with pytest.raises(KoaError):
        explain(model, phantoms.images[0], towards=2, rather_than=2, method=method)
    assert [module.training for module in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == wanted
    assert all(weight.grad is None for weight in model.parameters())
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    assert model.locked == frozenset(locked)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_locked_tower_whose_features_are_compressed_is_explained_though_some_are_zero():
    model = model_with(SpotTower(), locked=("image", "text"))
    model.towers.compressed = True
    heat = explain(model, film_with_spot(60, 40), **PAIR).heat
    assert np.isfinite(heat).all()
    assert heat.max() > 0


def test_maps_are_found_inside_inference_mode_too(tiny, phantoms):
    with torch.inference_mode():
        inside = explain(tiny, phantoms.images[0], **PAIR).heat
    np.testing.assert_array_equal(inside, explain(tiny, phantoms.images[0], **PAIR).heat)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"towards": 5}, "no grade 5"),
        ({"rather_than": -1}, "no grade -1"),
        ({"towards": "KL2"}, "no grade"),
        ({"rather_than": 2}, "has no answer"),
        ({"method": "saliency"}, "no method"),
        ({"image": np.zeros((1, 96, 96), np.uint8)}, "uint8"),
        ({"image": np.zeros((96, 96))}, "uint8"),
        ({"image": np.zeros((4, 96), np.uint8)}, "uint8"),
    ],
)
def test_a_question_without_an_answer_and_what_is_no_radiograph_are_refused(change, match, tiny, phantoms):
    with pytest.raises(KoaError, match=match):
        explain(tiny, **{"image": phantoms.images[0]} | PAIR | change)


def test_a_transformer_has_no_grad_cam_and_the_error_names_what_it_has(phantoms):
    torch.manual_seed(0)
    model = model_with(PatchTransformer())
    with pytest.raises(KoaError, match="convolutional") as error:
        explain(model, phantoms.images[0], **PAIR)
    for method in set(METHODS) - {"gradcam"}:
        assert method in error.value.remedy
        assert explain(model, phantoms.images[0], **PAIR, method=method).heat.any()


def test_logits_that_are_no_numbers_are_refused(phantoms):
    model = model_with(SpotTower())
    model.grade_layer.weight.data[2, 0] = float("nan")
    with pytest.raises(KoaError, match="not finite"):
        explain(model, phantoms.images[0], **PAIR)


@pytest.mark.parametrize("options", [{}, {"pair": (3, 1), "method": "integrated_gradients"}])
def test_the_table_scores_maps_of_a_pair_or_of_the_predicted_grade_rather_than_the_next(options, phantoms):
    model = build_model(seed=1, canonical_side=True)
    table = score_on_phantoms(model, phantoms, **options, most=5, seed=3)
    knees = phantoms.take(np.sort(np.random.default_rng(3).permutation(len(phantoms))[:5]))
    predictions, method = predict(model, knees)[0], options.get("method", "gradcam")
    order = np.argsort(-predictions[[f"s{grade}" for grade in range(5)]].to_numpy(), axis=1)[:, :2]
    pairs = [options["pair"]] * 5 if "pair" in options else order
    heats = [
        explain(model, image, towards=first, rather_than=second, method=method, side=side).heat
        for image, side, (first, second) in zip(knees.images, knees.table["side"], pairs, strict=True)
    ]
    masks = phantom_masks(knees.table, 96)
    assert table.equals(score_table(np.stack(heats), masks, patients=knees.table["patient"], seed=3))
    assert table["sign"].iloc[-1] == UNION
    assert table["knees"].max() == 5


def test_chance_counts_only_what_a_cropped_model_sees(phantoms):
    whole, joint = (
        score_on_phantoms(build_model(towers="koa-tiny", crop=crop, seed=1), phantoms, pair=(3, 1)).set_index("sign")
        for crop in ("whole", "joint")
    )
    share = (80 - 17) / 96
    assert joint.loc["joint_space_medial", "chance"] * share == pytest.approx(whole.loc["joint_space_medial", "chance"])


def test_knees_whose_signs_nobody_knows_are_not_scored(tiny, knees):
    with pytest.raises(KoaError, match="no phantom knee"):
        score_on_phantoms(tiny, knees)


def test_a_map_that_owes_nothing_to_the_weights_stays_when_they_are_drawn_anew():
    model = model_with(SpotTower(learnt=False))
    alike = randomised_similarity(model, film_with_spot(60, 40), **PAIR, draws=3)
    assert abs(alike) == pytest.approx(1)


def test_a_map_of_a_network_changes_with_its_weights_and_the_network_given_does_not(tiny, phantoms):
    before, state = deepcopy(tiny.state_dict()), torch.get_rng_state()
    alike = randomised_similarity(tiny, phantoms.images[0], **PAIR, draws=4)
    assert alike.shape == (4,)
    assert abs(alike).mean() < 0.8
    assert len(set(alike)) == 4
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(alike, randomised_similarity(tiny, phantoms.images[0], **PAIR, draws=4))
    assert (alike != randomised_similarity(tiny, phantoms.images[0], **PAIR, draws=4, seed=1)).all()
