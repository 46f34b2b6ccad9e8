"""Phantom knees: the grade follows from the signs, the signs show in the picture, the cohort is the same each time."""

from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from koa_kit.data.cohort import COLUMNS
from koa_kit.data.phantom import (
    Exposure,
    KneeFeatures,
    draw_knee,
    kl_grade,
    landmark_pixels,
    phantom_cohort,
    sample_features,
    write_phantom_files,
)
from koa_kit.data.phantom.anatomy import COMPARTMENT_MM, build_anatomy
from koa_kit.data.phantom.cohort import SHARES, _plan
from koa_kit.data.phantom.features import SIGNS, SITES
from koa_kit.data.phantom.figures import anatomy_figure, feature_ladder_figure, grade_row_figure
from koa_kit.data.radiograph import looks_inverted, read_radiograph
from koa_kit.errors import KoaError

STILL = Exposure(noise=0.0, trabeculae=0.0, blur=0.5)
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


@given(grade=st.integers(0, 4), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_a_sampled_knee_has_the_grade_asked_for(grade, seed):
    assert kl_grade(sample_features(grade, np.random.default_rng(seed))) == grade


@given(seed=st.integers(0, 2**32), grade=st.integers(0, 4), sign=st.sampled_from(SIGNS), share=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_sign_that_gets_worse_never_lowers_the_grade(seed, grade, sign, share):
    knee = sample_features(grade, np.random.default_rng(seed))
    worst = 0.0 if sign.startswith("jsw") else 3.0
    worse = replace(knee, **{sign: (1 - share) * getattr(knee, sign) + share * worst})
    assert kl_grade(worse) >= grade


def test_neighbouring_grades_overlap_in_joint_space_and_osteophytes():
    rng = np.random.default_rng(0)
    knees = {grade: [sample_features(grade, rng) for _ in range(200)] for grade in range(5)}
    widths = {grade: [knee.narrowest_mm for knee in those] for grade, those in knees.items()}
    for grade in range(4):
        assert np.mean(widths[grade]) > np.mean(widths[grade + 1]) + 0.2
        assert min(widths[grade]) < max(widths[grade + 1])
    largest = [np.mean([max(knee.osteophytes) for knee in knees[grade]]) for grade in range(5)]
    assert np.all(np.diff(largest) > 0.3)


def test_three_knees_in_four_have_medial_disease():
    rng = np.random.default_rng(1)
    medial = [sample_features(3, rng).medial_share > 0.5 for _ in range(300)]
    assert 0.65 < np.mean(medial) < 0.85


@pytest.mark.parametrize("size", [64, 97, 224])
@pytest.mark.parametrize("grade", [0, 4])
def test_flipping_a_left_knee_gives_a_right_knee(grade, size):
    knee = sample_features(grade, np.random.default_rng(3), exposure=Exposure(tilt_deg=3, shift_x_mm=2, bead=True))
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
    ("patients", "shares"), [(0, (0.2,) * 5), (5, (0.5, 0.5)), (5, (0.3,) * 5), (5, (1.2, -0.2, 0, 0, 0))]
)
def test_an_impossible_cohort_is_refused(patients, shares):
    with pytest.raises(KoaError, match=r"no knees|shares"):
        phantom_cohort(patients, size=32, shares=shares)


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
        exposure = Exposure(**{name: knee[name] for name in Exposure.__dataclass_fields__})
        features = KneeFeatures(**{name: knee[name] for name in SIGNS}, exposure=exposure)
        assert kl_grade(features) == knee["kl"]
        again = draw_knee(features, side=knee["side"], size=112, seed=knee["draw_seed"])
        np.testing.assert_array_equal(again, cohort.images[row])


def test_the_same_arguments_give_the_same_bytes(cohort):
    again = phantom_cohort(40, size=112, seed=5)
    np.testing.assert_array_equal(again.images, cohort.images)
    assert again.table.equals(cohort.table)
    assert again.fingerprint == cohort.fingerprint
    assert phantom_cohort(40, size=112, seed=6).fingerprint != cohort.fingerprint
    assert cohort.table["sha256"].is_unique


def test_two_knees_of_a_patient_are_graded_alike_but_not_the_same():
    table, _ = _plan(1000, 2, SHARES)
    knees = table.pivot(index="patient", columns="side", values="kl")
    apart = (knees["L"] - knees["R"]).abs()
    assert 0.42 < (apart == 0).mean() < 0.6
    assert 0.75 < (apart <= 1).mean() < 0.9
    counts = table["kl"].value_counts(normalize=True).sort_index()
    np.testing.assert_allclose(counts, SHARES, atol=0.035)
    assert np.ptp(table.groupby("split")["kl"].mean()) < 0.3


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


def test_grade_row_and_ladder_show_five_knees():
    for draw in (grade_row_figure, feature_ladder_figure):
        figure = draw(1)
        images = [ax.images[0].get_array() for ax in figure.axes]
        assert len(images) == 5 == len({ax.get_title(loc="center") for ax in figure.axes})
        assert len({image.tobytes() for image in images}) == 5
        plt.close(figure)
