"""The phantom laboratory: a sign moved is a sign seen, read and reported; and the page behaves."""

import io
import re
from contextlib import nullcontext
from dataclasses import fields, replace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.phantom.figures import laboratory_figure
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, OSTEOPHYTES, SIGNS, SITES, kl_grade
from koa_kit.phantom.laboratory import page
from koa_kit.phantom.laboratory.page import LIMITS, LabState
from koa_kit.phantom.laboratory.widget import PhantomLaboratory, drive_laboratory

states = st.builds(
    LabState,
    **{name: st.floats(*LIMITS[name]) for name in LIMITS},
    side=st.sampled_from("LR"),
    seed=st.integers(0, 10_000),
    film=st.sampled_from(["clear", "typical"]),
)
WORN = LabState(0.5, 5.5, 2.4, 2.9, 1.2, 1.5, 2.7, 2.2, -4.0)


def model(images: np.ndarray, sides: list[str]) -> np.ndarray:
    """Probabilities that depend on which side of the picture is brighter."""
    lean = (images[:, :, : images.shape[2] // 2].mean((1, 2)) - images[:, :, images.shape[2] // 2 :].mean((1, 2))) / 40
    odds = np.exp(lean[:, None] * np.arange(5))
    return odds / odds.sum(1, keepdims=True)


@pytest.fixture
def lab() -> PhantomLaboratory:
    return PhantomLaboratory(similarities=model)


def shown(lab: PhantomLaboratory) -> tuple:
    return lab.picture.value, lab.readings.value, lab.report.value


def percentages(html: str) -> list[list[float]]:
    """Exact numbers of every row of bars, from the titles of the cells."""
    rows = re.findall(r"(?s)<tr><th>[^<]*</th>(.*?)</tr>", html)
    return [[float(number) for number in re.findall(r'title="KL[^"]*: (-?[\d.]+)"', row)] for row in rows[1:]]


def test_a_state_that_cannot_be_is_refused_by_name_and_the_old_one_stays(lab):
    old = lab.state
    wrong = [("side", "left"), ("film", "blurred"), ("seed", -1), ("seed", 0.5), ("jsw_medial_mm", 9.5)]
    for name, value in wrong:
        with pytest.raises(KoaError, match=f"{name} is"):
            lab.show(**{name: value})
    assert lab.state == old


@given(states)
def test_the_knee_has_the_signs_of_the_state_and_the_build_of_the_person(state):
    knee = state.features()
    assert all(getattr(knee, name) == getattr(state, name) for name in (*SIGNS, "valgus_deg"))
    assert state.as_table().iloc[0].to_dict() == {name: getattr(state, name) for name in SIGNS}
    assert replace(state, sclerosis=0.0, side="L").features().build == knee.build
    other = replace(state, seed=state.seed + 1).features()
    assert other.build != knee.build
    # A clear film is the same for everyone, a typical one is not.
    assert (other.exposure == knee.exposure) == (state.film == "clear")
    assert state.features() == knee


@given(states, st.floats(0, 3))
def test_the_largest_osteophyte_is_the_one_asked_for_and_sits_where_the_joint_is_narrower(state, size):
    grown = state.with_largest(size)
    assert grown.largest == pytest.approx(size, abs=0.05 + 1e-9)
    medial = grown.osteophyte_medial_tibia >= grown.osteophyte_lateral_tibia
    assert medial or state.jsw_lateral_mm - LATERAL_SURPLUS_MM < state.jsw_medial_mm
    assert replace(grown, **{name: getattr(state, name) for name in OSTEOPHYTES}) == state


@settings(max_examples=30, deadline=None)
@given(states)
def test_every_row_of_bars_holds_a_distribution_and_the_rules_dot_their_grade(state):
    html = page.readings_html(state)
    rows = percentages(html)
    assert len(rows) == 4
    assert all(len(row) == 5 and sum(row) == pytest.approx(1, abs=0.003) for row in rows)
    assert html.count("koa-lab-rule") == 1
    assert f">By the rules KL{kl_grade(state)} " in html
    assert ">-" not in html


def test_readers_move_towards_worse_grades_as_the_knee_wears():
    expected = [
        {name: shares @ GRADES for name, shares in page.opinions(state).items()} for state in (LabState(), WORN)
    ]
    assert set(expected[0]) == {"reader A", "reader B", "reader C", "consensus"}
    assert all(expected[0][name] < 0.5 and expected[1][name] > 3.3 for name in expected[0])


def test_a_model_is_asked_for_the_knee_and_its_mirror_image_with_the_side_each_looks_like():
    pixels, asked = page.draw(LabState(side="L")), Mock(return_value=np.full((2, 5), 0.2))
    page.answers(pixels, "L", asked)
    images, sides = asked.call_args.args
    assert sides == ["L", "R"]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [pixels, pixels[:, ::-1]])
    for wrong in (np.zeros((2, 4)), np.zeros(5), np.full((2, 5), np.nan)):
        with pytest.raises(KoaError, match="similarities"):
            page.answers(pixels, "L", Mock(return_value=wrong))


def test_similarities_are_shown_as_such_and_the_greatest_has_the_longest_bar():
    cosines = np.array([[0.1, 0.2, 0.15, 0.3, -0.1], [0.1, 0.1, 0.12, 0.11, 0.1]])
    html = page.readings_html(LabState(), cosines)
    assert percentages(html)[4:] == cosines.tolist()
    row = re.findall(r"(?s)<tr><th>model</th>(.*?)</tr>", html)[0]
    heights = [float(height) for height in re.findall(r"height:([\d.]+)px", row)]
    assert int(np.argmax(heights)) == 3
    assert heights[4] == min(heights)
    assert "<span>0.30</span>" in row
    assert "%" not in row


def test_the_page_does_not_jump():
    html = [page.readings_html(state, np.eye(5)[:2]) for state in (LabState(), WORN)]
    # A head, the rules, three readers, the consensus, the model twice.
    assert [text.count("<tr>") for text in html] == [8, 8]
    bars = [float(height) for text in html for height in re.findall(r"height:([\d.]+)px;background", text)]
    assert 0 < min(bars) <= max(bars) <= 24


def test_it_opens_with_the_state_given_and_shows_it_in_every_control_and_in_a_snapshot():
    lab = PhantomLaboratory(state=WORN)
    assert all(control.value == getattr(WORN, name) for name, control in lab.controls.items())
    assert lab.readings.value == page.readings_html(WORN)
    assert "model" not in lab.readings.value
    bundle = lab._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"] == lab.snapshot()
    snapshot = page.snapshot_html(WORN, model)
    assert all(part in snapshot for part in ('src="data:image/png;base64,', "model, mirrored", page.report_html(WORN)))
    assert "<script" not in snapshot
    assert len(snapshot) < 200_000


@pytest.mark.parametrize("name", [*SIGNS, "valgus_deg", "largest"])
def test_each_slider_of_a_sign_changes_the_picture_and_the_angle_no_readers_mind(lab, name):
    lab.show(jsw_medial_mm=2.0, **dict.fromkeys((*OSTEOPHYTES, "sclerosis", "deformity"), 1.0))
    old = shown(lab)
    control = lab.controls[name]
    control.value = control.max
    assert lab.failure is None
    assert getattr(lab.state, name) == control.max
    assert lab.picture.value != old[0]
    assert name != "valgus_deg" or percentages(lab.readings.value)[:4] == percentages(old[1])[:4]


def test_detail_changes_the_report_alone_and_the_film_leaves_the_readers_alone(lab):
    old = shown(lab)
    lab.controls["detail"].value = 0.0
    assert (lab.picture.value, lab.readings.value) == old[:2]
    assert len(lab.report.value) < len(old[2])
    readers = percentages(lab.readings.value)[:4]
    lab.controls["film"].value = "typical"
    assert lab.picture.value != old[0]
    assert percentages(lab.readings.value)[:4] == readers


def test_the_picture_is_a_png_of_what_was_drawn_the_side_mirrors_it_and_the_report_names_it(lab):
    right = np.asarray(Image.open(io.BytesIO(lab.picture.value)))
    np.testing.assert_array_equal(right, page.draw(lab.state))
    lab.controls["side"].value = "L"
    assert (np.asarray(Image.open(io.BytesIO(lab.picture.value))) == right[:, ::-1]).all()
    assert "left knee" in lab.report.value.lower()


def test_another_person_has_the_same_signs_and_other_bones_and_reset_leads_back(lab):
    old, start = shown(lab), lab.state
    lab.controls["sclerosis"].value = 2.0
    lab.person.click()
    assert lab.state == replace(start, seed=start.seed + 1, sclerosis=2.0)
    lab.reset.click()
    assert lab.state == start
    assert shown(lab) == old
    assert lab.controls["sclerosis"].value == 0


def test_one_slider_moves_all_osteophytes_and_one_of_four_moves_its_site_only(lab):
    lab.controls["largest"].value = 2.0
    assert [lab.controls[name].value for name in OSTEOPHYTES] == [1.6, 2.0, 0.8, 1.0]
    lab.controls["osteophyte_lateral_femur"].value = 2.7
    assert [getattr(lab.state, f"osteophyte_{site}") for site in SITES] == [1.6, 2.0, 2.7, 1.0]
    assert lab.controls["largest"].value == 2.7


def test_a_sliders_rounding_error_does_not_cross_a_limit_of_the_rules(lab):
    lab.show(osteophyte_medial_tibia=1.5, osteophyte_medial_femur=1.5, sclerosis=1.0)
    lab.controls["jsw_medial_mm"].value = 2.8 - 4e-16
    assert lab.state.jsw_medial_mm == 2.8
    assert "By the rules KL2" in lab.readings.value


@pytest.mark.parametrize("state", [LabState(), WORN, LabState(film="typical", side="L", detail=0.0, seed=5)])
def test_driving_uses_every_control_and_leaves_the_state_as_it_was(state):
    lab = PhantomLaboratory(similarities=model, state=state)
    old = shown(lab)
    assert drive_laboratory(lab) == len(lab.controls) + 2
    assert set(lab.controls) == {field.name for field in fields(LabState)} - {"seed"} | {"largest"}
    assert (lab.state, shown(lab)) == (state, old)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_failing_control_shows_its_error_raises_only_when_strict_and_fails_the_drive(lab, monkeypatch, strict):
    monkeypatch.setenv("KOA_STRICT", strict)
    lab.similarities = Mock(side_effect=ValueError("<b>the model is gone</b>"))
    with pytest.raises(ValueError, match="gone") if strict == "1" else nullcontext():
        lab.controls["sclerosis"].value = 1.0
    assert isinstance(lab.failure, ValueError)
    assert "&lt;b&gt;the model is gone" in lab.readings.value
    with pytest.raises(ValueError, match="gone"):
        drive_laboratory(lab)
    idle = PhantomLaboratory()
    idle.controls["sclerosis"].unobserve_all()
    with pytest.raises(RuntimeError, match="sclerosis"):
        drive_laboratory(idle)


def test_the_figure_shows_five_widths_and_four_bars_that_fill_up_beneath_each():
    import matplotlib.pyplot as plt

    figure = laboratory_figure()
    top, below = figure.axes[:5], figure.axes[5:]
    assert [ax.get_title() for ax in top] == [f"medial {width} mm" for width in (5.0, 3.9, 2.8, 1.6, 0.5)]
    for ax in below:
        ends = [bar.get_x() + bar.get_width() for bar in ax.patches[-4:]]
        assert ends == pytest.approx([1] * 4)
    healthy = [ax.patches[3].get_width() for ax in below]
    assert healthy == sorted(healthy, reverse=True)
    assert healthy[0] > 0.8
    plt.close(figure)
    with pytest.raises(KoaError, match="no knee"):
        laboratory_figure([])
