"""A map is as good as the share of its heat that lies on true signs, beside what maps without knowledge have there."""

import numpy as np
import pytest

from koa_kit.attribution.figures import attribution_figure, score_figure
from koa_kit.attribution.scores import UNION, Attribution, area_share, energy_inside, pointing, score_table
from koa_kit.error_analysis.statistics.intervals import draw_patients
from koa_kit.errors import KoaError

SIDE = 20


def sign_at(row, column, extent=4):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[row : row + extent, column : column + extent] = True
    return mask


@pytest.fixture
def maps():
    """Twelve maps of six patients, and masks of two signs; the second sign is absent in a third of the knees."""
    rng = np.random.default_rng(4)
    heats = rng.normal(0, 1, (12, SIDE, SIDE)).astype(np.float32)
    spur = np.stack([sign_at(*rng.integers(0, SIDE - 4, 2)) for _ in range(12)])
    gap = np.stack([sign_at(*rng.integers(0, SIDE - 6, 2), extent=6) for _ in range(12)])
    gap[::3] = False
    return heats, {"spur": spur, "gap": gap}, np.repeat(np.arange(6), 2)


def hit(heat, mask):
    return mask.flat[heat.argmax()]


def energy_of(heat, mask):
    positive = np.maximum(heat, 0).astype(float)
    return (positive * mask).sum() / positive.sum()


def test_a_map_points_at_a_sign_when_its_hottest_pixel_lies_on_it(maps):
    heats, masks, _ = maps
    # the last one is made to hit, so that the reference is put to work
    heats[-1][masks["spur"][-1]] += 10
    hits = [pointing(heat, mask) for heat, mask in zip(heats, masks["spur"], strict=True)]
    assert hits == [hit(heat, mask) for heat, mask in zip(heats, masks["spur"], strict=True)]
    assert 0 < np.mean(hits) < 1


def test_of_a_plateau_the_middle_counts():
    heat = np.zeros((SIDE, SIDE))
    heat[4:11, 6:13] = 1
    assert pointing(heat, sign_at(7, 9, extent=1)) == 1
    assert pointing(heat, sign_at(4, 6, extent=2)) == 0


def test_a_map_that_only_speaks_against_the_grade_points_nowhere_and_an_absent_sign_says_nothing():
    against, everywhere, none = -np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool)
    assert pointing(against, ~none) == 0
    assert np.isnan([energy_inside(against, sign_at(0, 0)), energy_inside(everywhere, none)]).all()
    assert np.isnan(pointing(everywhere, none))


def test_even_heat_has_exactly_the_energy_of_chance_where_it_can_be():
    seen = np.zeros((SIDE, SIDE), bool)
    seen[5:15] = True
    mask = sign_at(12, 3, extent=5)
    assert energy_inside(seen.astype(float), mask) == pytest.approx(area_share(mask, seen))
    assert area_share(mask, seen) == pytest.approx(15 / 200)
    assert area_share(mask) == pytest.approx(25 / 400)


def test_the_table_is_the_mean_over_knees_that_have_the_sign(maps):
    heats, masks, patients = maps
    table = score_table(heats, masks, patients=patients, draws=50).set_index("sign")
    union = {"spur": masks["spur"], "gap": masks["gap"], UNION: masks["spur"] | masks["gap"]}
    assert table.index.tolist() == list(union)
    for sign, mask in union.items():
        has = [knee for knee in range(12) if mask[knee].any()]
        energy = np.mean([energy_of(heats[knee], mask[knee]) for knee in has])
        chance = np.mean([mask[knee].mean() for knee in has])
        assert table.loc[sign, "knees"] == len(has)
        assert table.loc[sign, "hit_rate"] == np.mean([hit(heats[k], mask[k]) for k in has])
        assert table.loc[sign, "energy"] == pytest.approx(energy, rel=1e-5)
        assert table.loc[sign, "chance"] == pytest.approx(chance)
        assert table.loc[sign, "lift"] == pytest.approx(energy / chance, rel=1e-5)
    assert table.loc["gap", "knees"] == 8


def test_the_typical_map_is_that_of_other_patients_never_of_the_own_other_knee(maps):
    heats, masks, patients = maps
    positive = np.maximum(heats, 0).astype(float)
    shares = positive / positive.sum((1, 2), keepdims=True)
    expected = [
        energy_of(shares[patients != patients[knee]].mean(0), masks["spur"][knee]) for knee in range(len(heats))
    ]
    table = score_table(heats, masks, patients=patients, draws=10).set_index("sign")
    assert table.loc["spur", "typical"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_maps_that_show_the_middle_of_every_film_lift_above_area_yet_not_above_the_typical_map(maps):
    patients = maps[2]
    middle = np.zeros((12, SIDE, SIDE))
    middle[:, 6:14, 6:14] = 1
    spur = np.stack([sign_at(8, 8)] * 12)
    row = score_table(middle, {"spur": spur}, patients=patients, draws=10).iloc[0]
    assert row["lift"] == pytest.approx(400 / 64)
    assert row["energy"] == pytest.approx(row["typical"])


def test_maps_that_lie_on_the_signs_have_all_their_energy_there_and_exceed_the_typical_map(maps):
    _, masks, patients = maps
    row = score_table(masks["spur"].astype(float), masks, patients=patients, draws=50).iloc[0]
    assert row["hit_rate"] == row["energy"] == row["energy_low"] == 1
    assert row["typical"] < 0.7


def test_intervals_hold_the_value_and_are_wider_when_both_knees_of_a_patient_go_together():
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random(60) < 0.5, 2)
    mask = np.stack([sign_at(8, 8)] * 120)
    heats = np.where(right[:, None, None], mask, ~mask).astype(float)
    alone, paired = (
        score_table(heats, {"spur": mask}, patients=patients).iloc[0] for patients in (range(120), np.arange(120) // 2)
    )
    assert alone["hit_rate"] == paired["hit_rate"] == right.mean()
    for row in (alone, paired):
        for name in ("hit_rate", "energy", "lift"):
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert paired["hit_rate_high"] - paired["hit_rate_low"] > 1.2 * (alone["hit_rate_high"] - alone["hit_rate_low"])
    # every mask has the same area, so lift and energy are the same up to that factor
    assert paired["lift_low"] == pytest.approx(paired["energy_low"] * 400 / 16)


def test_the_interval_of_lift_draws_patients_and_divides_their_sums(maps):
    heats, masks, patients = maps
    row = score_table(heats, masks, patients=patients, draws=40, seed=7).set_index("sign").loc[UNION]
    union = masks["spur"] | masks["gap"]
    energy = np.array([energy_of(heat, mask) for heat, mask in zip(heats, union, strict=True)])
    lifts = []
    for drawn in draw_patients(6, 40, 7):
        times = drawn[patients]
        lifts.append((times * energy).sum() / (times * union.mean((1, 2))).sum())
    assert [row["lift_low"], row["lift_high"]] == pytest.approx(list(np.percentile(lifts, [2.5, 97.5])), rel=1e-5)


def test_a_sign_that_no_knee_has_gets_a_row_of_nothing(maps):
    heats, masks, patients = maps
    table = score_table(heats, masks | {"pannus": np.zeros_like(masks["spur"])}, patients=patients, draws=10)
    row = table.set_index("sign").loc["pannus"]
    assert row["knees"] == 0
    assert row.drop("knees").isna().all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"heats": np.zeros((0, SIDE, SIDE))}, "nothing to score"),
        ({"heats": np.zeros((SIDE, SIDE))}, "nothing to score"),
        ({"masks": {}}, "nothing to score"),
        ({"masks": {"spur": np.zeros((12, 5, 5), bool)}}, "differ in shape"),
        ({"patients": [1, 2]}, "do not fit"),
        ({"seen": np.ones((5, 5), bool)}, "differ in shape"),
        ({"heats": np.full((12, SIDE, SIDE), np.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(maps, change, match):
    heats, masks, patients = maps
    given = {"heats": heats, "masks": masks, "patients": patients} | change
    with pytest.raises(KoaError, match=match):
        score_table(given.pop("heats"), given.pop("masks"), **given)


@pytest.fixture
def attribution():
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[4:8, 4:8], heat[12:16, 12:16] = 0.5, -0.25
    return Attribution(heat, 2, 1, 0.7, "gradcam")


def test_the_figure_asks_the_question_and_shows_the_bare_film_where_there_is_no_heat(attribution):
    figure = attribution_figure(np.full((SIDE, SIDE), 90, np.uint8), attribution, sign_at(3, 3))
    over = figure.axes[1].images[1].get_array()
    assert figure.axes[1].title.get_text() + figure.axes[1].get_title(loc="left") == "why KL2 rather than KL1"
    assert Attribution(attribution.heat, 3, None, 1.0, "occlusion").question == "why KL3"
    assert (over[..., 3] > 0).sum() == 32
    towards, against = over[5, 5], over[13, 13]
    assert towards[0] > towards[2]
    assert against[2] > against[0]
    assert towards[3] > against[3]
    assert [text.get_text() for text in figure.axes[2].get_yticklabels()] == ["for KL1", "neither", "for KL2"]


def test_a_film_or_mask_of_another_size_is_refused(attribution):
    film = np.zeros((SIDE, SIDE), np.uint8)
    with pytest.raises(KoaError, match="image does not fit"):
        attribution_figure(film[1:], attribution)
    with pytest.raises(KoaError, match="mask does not fit"):
        attribution_figure(film, attribution, np.zeros((5, 5), bool))


def test_the_score_figure_names_each_sign_with_its_knees_and_says_what_no_knee_has(maps):
    heats, masks, patients = maps
    absent = {"osteophyte_medial_femur": np.zeros_like(masks["spur"])}
    figure = score_figure(score_table(heats, masks | absent, patients=patients, draws=20))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["spur, 12 knees", "gap, 8 knees", "any sign, 12 knees"]
    assert "osteophyte medial femur" in figure._supxlabel.get_text()
    with pytest.raises(KoaError, match="no sign"):
        score_figure(score_table(heats, absent, patients=patients))
