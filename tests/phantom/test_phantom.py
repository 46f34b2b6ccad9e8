"""Phantom knees: the grade follows from the signs, the signs show in the picture, the cohort is the same each time."""

import hashlib
from dataclasses import fields, replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from koa_kit.cohort import COLUMNS
from koa_kit.data.radiograph import looks_inverted, read_radiograph
from koa_kit.errors import KoaError
from koa_kit.phantom import (
    Build,
    Exposure,
    KneeFeatures,
    LabState,
    Rules,
    draw_knee,
    kl_grade,
    landmark_pixels,
    phantom_cohort,
    sample_build,
    sample_exposure,
    sample_features,
    write_phantom_files,
)
from koa_kit.phantom.cohort import VERSION
from koa_kit.phantom.drawing.anatomy import COMPARTMENT_MM, build_anatomy
from koa_kit.phantom.figures import anatomy_figure, grade_row_figure
from koa_kit.phantom.knee.features import SITES

STILL = Exposure(noise=0.0, trabeculae=0.0, blur=0.5)
WITH_METAL = Exposure(tilt_deg=3, shift_x_mm=2, beads=True, marker=True, hardware="screw", collimation_mm=4)
SEVERE = {f"osteophyte_{site}": 2.5 for site in SITES} | {"jsw_medial_mm": 0.8, "sclerosis": 2.5, "deformity": 1.5}


@pytest.fixture(scope="module")
def cohort():
    return phantom_cohort(40, size=112, seed=5)


@pytest.mark.parametrize(
    ("signs", "grade"),
    [
        ({}, 0),
        ({"osteophyte_medial_tibia": 0.49, "jsw_medial_mm": 3.6}, 0),
        ({"osteophyte_medial_tibia": 0.5}, 1),
        ({"jsw_medial_mm": 3.5}, 1),
        ({"jsw_lateral_mm": 4.3}, 1),
        ({"jsw_medial_mm": 0.5}, 1),
        ({"osteophyte_lateral_femur": 1.0}, 2),
        ({"osteophyte_lateral_femur": 3.0, "jsw_lateral_mm": 1.0}, 2),
        ({"osteophyte_medial_femur": 1, "osteophyte_medial_tibia": 1, "jsw_medial_mm": 2.7, "sclerosis": 0.5}, 3),
        ({"osteophyte_medial_femur": 1, "osteophyte_medial_tibia": 1, "jsw_medial_mm": 2.7, "sclerosis": 0.4}, 2),
        ({"osteophyte_medial_femur": 1, "osteophyte_medial_tibia": 1, "jsw_medial_mm": 2.9, "sclerosis": 0.5}, 2),
        (SEVERE, 4),
        (SEVERE | {"deformity": 0.9}, 3),
        (SEVERE | {"sclerosis": 1.9}, 3),
        (SEVERE | {"jsw_medial_mm": 1.5}, 3),
        (SEVERE | {f"osteophyte_{site}": 1.9 for site in SITES}, 3),
    ],
)
def test_the_grade_follows_the_rules_at_their_limits(signs, grade):
    assert kl_grade(KneeFeatures(**signs)) == grade


@pytest.mark.parametrize("size", [64, 97, 224])
@pytest.mark.parametrize("grade", [0, 4])
def test_flipping_a_left_knee_gives_a_right_knee(grade, size):
    knee = sample_features(grade, np.random.default_rng(3), exposure=WITH_METAL)
    left, right = draw_knee(knee, side="L", size=size, seed=9), draw_knee(knee, side="R", size=size, seed=9)
    assert left.dtype == np.uint8
    assert left.shape == (size, size)
    assert not np.array_equal(left, right)
    np.testing.assert_array_equal(left, right[:, ::-1])


def test_the_fibula_lies_lateral_on_the_left_of_a_right_knee():
    right = np.mean([draw_knee(KneeFeatures(exposure=STILL), size=112, seed=s) for s in range(8)], axis=0)
    below = right[90:]
    assert below[:, 3:20].mean() > below[:, -20:-3].mean() + 5
    assert landmark_pixels(KneeFeatures(), side="R")["fibula"][0] < 60
    assert landmark_pixels(KneeFeatures(), side="L")["fibula"][0] > 164


def test_a_readers_own_limits_move_the_grade():
    knee = KneeFeatures(osteophyte_medial_tibia=0.9)
    assert kl_grade(knee) == 1
    assert kl_grade(knee, Rules(present=0.85)) == 2


@pytest.mark.parametrize("record", [Build, Exposure, KneeFeatures, LabState])
def test_every_number_of_a_record_has_a_range_that_is_kept(record):
    ranges = record.ranges()
    assert set(ranges) == {entry.name for entry in fields(record) if entry.type == "float"}
    for name, (low, high) in ranges.items():
        for beyond in (low - 0.01, high + 0.01, float("nan")):
            with pytest.raises(KoaError, match=name):
                record(**{name: beyond})


def test_unknown_hardware_is_refused():
    with pytest.raises(KoaError, match=r"'plate'[\s\S]*none, screw, staple"):
        Exposure(hardware="plate")


def test_the_two_knees_of_a_person_are_built_alike():
    rng = np.random.default_rng(0)
    people = [sample_build(rng) for _ in range(300)]
    others = [sample_build(rng, other_knee=one) for one in people]
    for name in ("bone_width", "notch_mm", "fibula_y_mm"):
        pair = np.corrcoef([getattr(one, name) for one in people], [getattr(one, name) for one in others])[0, 1]
        assert 0.7 < pair < 0.88, name


def test_features_survive_the_way_through_a_table():
    rng = np.random.default_rng(4)
    knee = KneeFeatures(jsw_medial_mm=2.5, build=sample_build(rng), exposure=sample_exposure(rng))
    assert KneeFeatures.from_row(knee.as_row()) == knee


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"beads": True}, np.s_[:, :22]),
        ({"marker": True}, np.s_[:60, :45]),
        ({"hardware": "screw"}, np.s_[120:, 20:150]),
        ({"hardware": "staple"}, np.s_[120:, 120:]),
    ],
)
def test_metal_shows_white_where_it_belongs_and_nowhere_else(change, where):
    # A fixed window, so that the metal's own brightness does not shift the rest: differences are signs.
    plain, metal = (draw_knee(KneeFeatures(exposure=replace(STILL, **extra))).astype(int) for extra in ({}, change))
    brighter = metal - plain > 40
    assert brighter[where].sum() >= 8
    brighter[where] = False
    assert not brighter.any()


def test_the_collimator_darkens_the_medial_strip():
    film = draw_knee(KneeFeatures(exposure=replace(STILL, collimation_mm=6)))
    pixels = round(6 / 96 * 224)
    assert film[:, -pixels + 2 :].max() < 40
    assert film[:, -pixels - 6 : -pixels - 2].mean() > 60


def test_a_burnt_film_is_whiter_in_the_thigh():
    pale, burnt = (draw_knee(KneeFeatures(exposure=replace(STILL, burnt=value))).astype(float) for value in (0, 1))
    thigh, calf = np.s_[:60, 70:150], np.s_[-40:, 70:150]
    assert burnt[thigh].mean() - burnt[calf].mean() > pale[thigh].mean() - pale[calf].mean() + 15


def test_varus_and_valgus_bend_the_shafts_opposite_ways():
    def middle(valgus: float) -> float:
        anatomy = build_anatomy(KneeFeatures(valgus_deg=valgus), np.random.default_rng(0))
        lateral, medial = anatomy.tibia_sides
        at = np.searchsorted(np.linspace(-84, 84, len(medial)), 40)
        return (medial[at] - lateral[at]) / 2

    # In a knock-knee the foot lies lateral of the knee, which is x below 0.
    assert middle(12) < middle(5) - 1 < middle(-4) - 2


def test_one_seed_gives_one_picture_and_another_seed_another():
    knee = KneeFeatures()
    np.testing.assert_array_equal(draw_knee(knee, seed=4), draw_knee(knee, seed=4))
    assert not np.array_equal(draw_knee(knee, seed=4), draw_knee(knee, seed=5))


def test_the_joint_gap_is_dark_between_bright_bones():
    knee = KneeFeatures(exposure=STILL)
    image = draw_knee(knee).astype(float)
    for compartment in ("medial", "lateral"):
        column, row = (round(v) for v in landmark_pixels(knee)[f"{compartment}_joint_space"])
        gap = image[row - 1 : row + 2, column].mean()
        assert image[row - 16 : row - 10, column].mean() > gap + 15
        assert image[row + 10 : row + 16, column].mean() > gap + 15


@pytest.mark.parametrize("compartment", ["medial", "lateral"])
@pytest.mark.parametrize("width", [0.5, 2.0, 5.0])
def test_the_outlines_leave_the_joint_space_of_the_features(compartment, width):
    knee = KneeFeatures(**{f"jsw_{compartment}_mm": width}, osteophyte_medial_tibia=2, deformity=1.5)
    anatomy = build_anatomy(knee, np.random.default_rng(2))
    x = COMPARTMENT_MM if compartment == "medial" else -COMPARTMENT_MM
    assert anatomy.height("plateau", x) - anatomy.height("condyles", x) == pytest.approx(width, abs=0.02)


def test_a_narrower_joint_space_shows_fewer_dark_pixels():
    dark = []
    for knee in (KneeFeatures(jsw_medial_mm=width, exposure=STILL) for width in (5.0, 3.5, 2.0, 0.5)):
        column, row = (round(v) for v in landmark_pixels(knee)["medial_joint_space"])
        profile = draw_knee(knee).astype(float)[row - 20 : row + 20, column - 3 : column + 4].mean(axis=1)
        dark.append(int((profile < np.median(profile) - 15).sum()))
    assert all(wider >= narrower + 2 for wider, narrower in pairwise(dark))


@pytest.mark.parametrize("site", SITES)
def test_an_osteophyte_brightens_its_own_margin(site):
    compartment, bone = site.split("_")
    knees = [KneeFeatures(**{f"osteophyte_{site}": size}, exposure=STILL) for size in (0.0, 3.0)]
    change = draw_knee(knees[1]).astype(float) - draw_knee(knees[0])
    column, row = (round(v) for v in landmark_pixels(knees[1])[f"{compartment}_{bone}_margin"])
    here = change[row - 6 : row + 7, column - 6 : column + 7].mean()
    assert here > 8
    elsewhere = change[:, 112:] if compartment == "lateral" else change[:, :112]
    assert np.abs(elsewhere).mean() < 3


def test_sclerosis_whitens_the_bone_beside_the_narrow_compartment():
    knees = [KneeFeatures(jsw_medial_mm=2.5, sclerosis=value, exposure=STILL) for value in (0.0, 3.0)]
    change = draw_knee(knees[1]).astype(float) - draw_knee(knees[0])
    places = landmark_pixels(knees[1])
    beneath = {}
    for compartment in ("medial", "lateral"):
        column, row = (round(v) for v in places[f"{compartment}_joint_space"])
        beneath[compartment] = change[row + 5 : row + 14, column - 10 : column + 11].mean()
    assert beneath["medial"] > beneath["lateral"] + 8


@pytest.mark.parametrize(
    "wrong", [{"jsw_medial_mm": -0.1}, {"jsw_lateral_mm": 9.5}, {"sclerosis": 3.1}, {"deformity": float("nan")}]
)
def test_an_impossible_sign_is_refused_by_name(wrong):
    with pytest.raises(KoaError, match=next(iter(wrong))):
        KneeFeatures(**wrong)


@pytest.mark.parametrize("arguments", [{"side": "left"}, {"size": 8}])
def test_an_impossible_drawing_is_refused(arguments):
    with pytest.raises(KoaError, match=r"side|pixels"):
        draw_knee(KneeFeatures(), **arguments)


def test_grade_five_is_refused():
    with pytest.raises(KoaError, match="no KL grade 5"):
        sample_features(5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 0}, "no knees"),
        ({"shares": (0.5, 0.5)}, "shares"),
        ({"shares": "most"}, "shares"),
        ({"months": 5}, "no visit"),
        ({"shortcut": 2}, "shortcut"),
    ],
)
def test_an_impossible_cohort_is_refused(wrong, message):
    with pytest.raises(KoaError, match=message):
        phantom_cohort(**{"patients": 5, "size": 32} | wrong)


def test_every_patient_has_both_knees_in_one_split(cohort):
    per_patient = cohort.table.groupby("patient")
    assert set(per_patient["side"].agg("".join)) == {"LR"}
    assert (per_patient["split"].nunique() == 1).all()
    assert cohort.splits == {"train": 48, "val": 16, "test": 16}
    assert list(cohort.splits) == ["train", "val", "test"]


def test_the_table_says_what_was_drawn(cohort):
    table = cohort.table
    assert table.columns[: len(COLUMNS)].tolist() == list(COLUMNS)
    assert table["knee_id"].is_unique
    assert (table["file"] == table["split"] + "/" + table["kl"].astype(str) + "/" + table["knee_id"] + ".png").all()
    for row in (0, 33, 79):
        knee = table.iloc[row]
        features = KneeFeatures.from_row(knee)
        assert kl_grade(features) == knee["kl_rules"]
        again = draw_knee(features, side=knee["side"], size=112, seed=knee["draw_seed"])
        np.testing.assert_array_equal(again, cohort.images[row])
    assert table["kl"].to_numpy().tolist() == table.filter(like="reader_").median(axis=1).tolist()


def test_the_same_arguments_give_the_same_bytes(cohort):
    again = phantom_cohort(40, size=112, seed=5)
    np.testing.assert_array_equal(again.images, cohort.images)
    assert again.table.equals(cohort.table)
    assert again.fingerprint == cohort.fingerprint
    assert phantom_cohort(40, size=112, seed=6).fingerprint != cohort.fingerprint
    assert cohort.table["sha256"].is_unique


def test_these_knees_are_the_same_on_every_machine():
    knees = phantom_cohort(6, size=96, seed=11)
    pixels = hashlib.sha256(knees.images.tobytes()).hexdigest()
    grades = knees.table[["knee_id", "kl", "reader_A", "reader_B", "reader_C", "jsw_medial_mm"]]
    table = hashlib.sha256(grades.to_csv(index=False, lineterminator="\n").encode()).hexdigest()
    # caches know phantoms by this number: other bytes need another one
    assert (VERSION, pixels, table) == (
        1,
        "1f2d8d470b9b8d2705f16fe7aec9665eaf07593cf033f43f8fb1ab336dc5747f",
        "6f4f4bb265f25335d7f7005c1b137876b82cd2f9fd62a2afbe4016f0abfca771",
    )


def test_a_later_visit_shows_the_same_patients_with_knees_no_better(cohort):
    later = phantom_cohort(40, size=32, seed=5, months=48).table.set_index("knee_id")
    now = cohort.table.set_index("knee_id").loc[later.index]
    assert (later["kl"] >= now["kl"]).all()
    assert later["kl"].tolist() == now["kl_48"].tolist()
    assert (later["bone_width"] == now["bone_width"]).all()
    assert (later["jsw_medial_mm"] <= now["jsw_medial_mm"]).all()


def test_a_marker_in_the_table_shows_in_the_picture():
    knees = phantom_cohort(30, size=64, seed=2, shortcut=1.0)
    assert (knees.table["marker"] == (knees.table["kl"] >= 2)).all()
    right = np.where((knees.table["side"] == "L").to_numpy()[:, None, None], knees.images[:, :, ::-1], knees.images)
    corner = right[:, :16, :14].reshape(len(knees), -1).max(axis=1).astype(int) - np.median(
        right[:, :16, :14].reshape(len(knees), -1), axis=1
    )
    marked = knees.table["marker"].to_numpy()
    assert np.median(corner[marked]) > np.median(corner[~marked]) + 30


def test_a_single_patient_is_a_cohort():
    assert phantom_cohort(1, size=32).splits == {"train": 2}


def test_the_grey_levels_are_near_those_of_real_knees():
    pixels = phantom_cohort(100, size=64, seed=1).images / 255
    assert pixels.mean() == pytest.approx(0.606, abs=0.03)
    assert pixels.std() == pytest.approx(0.194, abs=0.025)


def test_no_phantom_looks_inverted_and_some_are_marked(cohort):
    assert not any(looks_inverted(image) for image in cohort.images)
    marked = cohort.table[cohort.table["inverted"]]
    assert len(marked) == 2
    assert marked["patient"].nunique() == 1


def test_written_files_read_back_as_the_cohort(cohort, tmp_path):
    folder = write_phantom_files(tmp_path / "phantom", 40, 112, 5)
    written = sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())
    assert written == sorted(cohort.table["file"])
    assert sorted(child.name for child in (folder / "val").iterdir()) == list("01234")
    for row, knee in cohort.table.iterrows():
        pixels, inverted = read_radiograph(folder / knee["file"], size=112)
        assert inverted == knee["inverted"]
        np.testing.assert_array_equal(pixels, cohort.images[row])


def test_files_are_not_written_among_others(tmp_path):
    (tmp_path / "mine.png").write_bytes(b"x")
    with pytest.raises(KoaError, match="not empty"):
        write_phantom_files(tmp_path, 2, 32, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.png"]


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("seed", [0, 7])
def test_labels_of_the_anatomy_do_not_overlap(side, seed):
    figure = anatomy_figure(seed, side)
    figure.canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    # An annotation's own extent would include its leader line.
    boxes = [Text.get_window_extent(text) for text in texts]
    assert {"femur", "tibia", "osteophyte"} <= {text.get_text() for text in texts}
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:number])
    plt.close(figure)


def test_the_grade_row_shows_five_knees():
    figure = grade_row_figure(1)
    images = [ax.images[0].get_array() for ax in figure.axes]
    assert len(images) == 5 == len({ax.get_title(loc="center") for ax in figure.axes})
    assert len({image.tobytes() for image in images}) == 5
    plt.close(figure)
