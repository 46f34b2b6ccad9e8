"""Phantom knees: the grade follows from the signs, the signs show in the picture, the cohort is the same each time."""

import hashlib
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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
    knee_masks,
    landmark_pixels,
    phantom_cohort,
    sample_build,
    sample_features,
    write_phantom_files,
)
from koa_kit.phantom.cohort import VERSION
from koa_kit.phantom.drawing.anatomy import COMPARTMENT_MM, build_anatomy, value_at
from koa_kit.phantom.figures import anatomy_figure, grade_row_figure, readers_figure
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
    assert kl_grade(KneeFeatures(osteophyte_medial_tibia=0.9), Rules(present=0.85)) == 2


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


@pytest.mark.parametrize("record", [Build, Exposure, KneeFeatures, LabState])
def test_every_number_of_a_record_has_a_range_that_is_kept(record):
    ranges = record.ranges()
    assert set(ranges) == {entry.name for entry in fields(record) if entry.type == "float"}
    for name, (low, high) in ranges.items():
        for beyond in (low - 0.01, high + 0.01, float("nan")):
            with pytest.raises(KoaError, match=f"{name} is"):
                record(**{name: beyond})


def test_the_two_knees_of_a_person_are_built_alike():
    rng = np.random.default_rng(0)
    people = [sample_build(rng) for _ in range(300)]
    others = [sample_build(rng, other_knee=one) for one in people]
    for name in ("bone_width", "notch_mm", "fibula_y_mm"):
        pair = np.corrcoef([getattr(one, name) for one in people], [getattr(one, name) for one in others])[0, 1]
        assert 0.7 < pair < 0.88, name


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


def test_the_collimator_darkens_the_medial_strip_and_a_burnt_film_is_whiter_in_the_thigh():
    film = draw_knee(KneeFeatures(exposure=replace(STILL, collimation_mm=6)))
    pixels = round(6 / 96 * 224)
    assert film[:, -pixels + 2 :].max() < 40
    assert film[:, -pixels - 6 : -pixels - 2].mean() > 60
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


@pytest.mark.parametrize("compartment", ["medial", "lateral"])
@pytest.mark.parametrize("width", [0.5, 2.0, 5.0])
def test_the_outlines_leave_the_joint_space_of_the_features(compartment, width):
    knee = KneeFeatures(**{f"jsw_{compartment}_mm": width}, osteophyte_medial_tibia=2, deformity=1.5)
    anatomy = build_anatomy(knee, np.random.default_rng(2))
    x = COMPARTMENT_MM if compartment == "medial" else -COMPARTMENT_MM
    assert value_at(anatomy.plateau - anatomy.condyles, x) == pytest.approx(width, abs=0.02)


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


def test_an_impossible_drawing_is_refused():
    for draw in (draw_knee, knee_masks):
        for arguments in ({"side": "left"}, {"size": 8}):
            with pytest.raises(KoaError, match=r"side|pixels"):
                draw(KneeFeatures(), **arguments)
    with pytest.raises(KoaError, match=r"'plate'[\s\S]*none, screw, staple"):
        Exposure(hardware="plate")


def test_the_table_says_what_was_drawn(cohort):
    table = cohort.table
    assert list(cohort.splits.items()) == [("train", 48), ("val", 16), ("test", 16)]
    assert phantom_cohort(1, size=32).splits == {"train": 2}
    assert table.columns[: len(COLUMNS)].tolist() == list(COLUMNS)
    assert table["knee_id"].is_unique
    assert (table["file"] == table["split"] + "/" + table["kl"].astype(str) + "/" + table["knee_id"] + ".png").all()
    for row in (0, 33, 79):
        knee = table.iloc[row]
        features = KneeFeatures.from_row(knee)
        assert KneeFeatures.from_row(features.as_row()) == features
        assert kl_grade(features) == knee["kl_rules"]
        again = draw_knee(features, side=knee["side"], size=112, seed=knee["draw_seed"])
        np.testing.assert_array_equal(again, cohort.images[row])


def test_the_same_arguments_give_the_same_bytes(cohort):
    again = phantom_cohort(40, size=112, seed=5)
    np.testing.assert_array_equal(again.images, cohort.images)
    assert again.table.equals(cohort.table)
    assert again.fingerprint == cohort.fingerprint != phantom_cohort(40, size=112, seed=6).fingerprint
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


def test_a_later_visit_shows_knees_built_as_before_with_the_grades_of_that_visit(cohort):
    later = phantom_cohort(40, size=32, seed=5, months=48).table.set_index("knee_id")
    now = cohort.table.set_index("knee_id").loc[later.index]
    assert later["kl"].tolist() == now["kl_48"].tolist()
    assert (later["bone_width"] == now["bone_width"]).all()


def test_a_marker_in_the_table_shows_in_the_picture():
    knees = phantom_cohort(30, size=64, seed=2, shortcut=1.0)
    right = np.where((knees.table["side"] == "L").to_numpy()[:, None, None], knees.images[:, :, ::-1], knees.images)
    corner = right[:, :16, :14].reshape(len(knees), -1).astype(int)
    contrast = corner.max(axis=1) - np.median(corner, axis=1)
    marked = knees.table["marker"].to_numpy()
    assert np.median(contrast[marked]) > np.median(contrast[~marked]) + 30


def test_the_grey_levels_are_near_those_of_real_knees():
    pixels = phantom_cohort(100, size=64, seed=1).images / 255
    assert pixels.mean() == pytest.approx(0.606, abs=0.03)
    assert pixels.std() == pytest.approx(0.194, abs=0.025)


def test_files_read_back_as_the_cohort_though_some_are_inverted_and_are_not_written_among_others(cohort, tmp_path):
    assert not any(looks_inverted(image) for image in cohort.images)
    assert cohort.table.loc[cohort.table["inverted"], "patient"].value_counts().tolist() == [2]
    folder = write_phantom_files(tmp_path / "phantom", 40, 112, 5)
    written = sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())
    assert written == sorted(cohort.table["file"])
    assert sorted(child.name for child in (folder / "val").iterdir()) == list("01234")
    for row, knee in cohort.table.iterrows():
        pixels, inverted = read_radiograph(folder / knee["file"], size=112)
        assert inverted == knee["inverted"]
        np.testing.assert_array_equal(pixels, cohort.images[row])
    with pytest.raises(KoaError, match="not empty"):
        write_phantom_files(folder, 2, 32, 0)
    assert written == sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(("seed", "side"), [(0, "L"), (0, "R"), (7, "L"), (7, "R")])
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


def test_the_grade_row_shows_five_knees_and_the_readers_figure_shares_of_the_first_readers_grades():
    figure = grade_row_figure(1)
    titles = [ax.get_title(loc="center") for ax in figure.axes]
    assert [title[:3] for title in titles] == ["KL0", "KL1", "KL2", "KL3", "KL4"]
    assert len({ax.images[0].get_array().tobytes() for ax in figure.axes}) == 5
    plt.close(figure)
    figure = readers_figure(pd.DataFrame({"reader_A": [1, 1, 1, 1], "reader_B": [1, 1, 1, 2]}))
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["75%", "25%"]
    plt.close(figure)


def test_importing_phantoms_needs_neither_widgets_nor_figures():
    code = "import sys, koa_kit.phantom as p; p.phantom_cohort; print({'matplotlib', 'ipywidgets'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
