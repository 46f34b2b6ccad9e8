"""The explorer shows the knees of the cell that was picked, says so when there are none, and hides no failure."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from koa_kit.data.cohort import Cohort
from koa_kit.error_analysis import ConfusionExplorer, ExplorerState, confused, drive
from koa_kit.error_analysis import explorer_page as page
from koa_kit.error_analysis.explorer_state import (
    advice,
    cell_counts,
    chosen_knees,
    headline,
    initial_state,
    on_a_page,
    page_count,
)
from koa_kit.errors import KoaError

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    monkeypatch.setenv("KOA_STRICT", "1")


@pytest.fixture
def explorer(predictions, images):
    return ConfusionExplorer(predictions, images, "paper")


def shown(html: str) -> list[str]:
    return re.findall(r'<div class="koa-name"><b>(.*?)</b>', html)


def test_picking_a_cell_shows_its_knees_in_order(explorer, predictions):
    explorer.cells[1, 0].click()
    assert explorer.state == ExplorerState(1, 0)
    assert shown(explorer.gallery.value) == list(confused(predictions, 1, 0)["knee_id"])[:12]
    assert f"KL1 graded KL0: {cell_counts(predictions)[1, 0]} of" in explorer.headline.value


def test_picking_a_row_shows_all_knees_of_the_grade(explorer, predictions):
    explorer.rows[2].click()
    assert (explorer.state.true, explorer.state.pred) == (2, None)
    assert f"All {(predictions['kl'] == 2).sum()} KL2 knees" in explorer.headline.value


def test_buttons_carry_the_counts_of_the_side(explorer, predictions):
    explorer.side.value = "L"
    left = cell_counts(predictions[predictions["side"] == "L"])
    for (true, pred), button in explorer.cells.items():
        assert button.description == (str(left[true, pred]) if left[true, pred] else "·")


def test_only_the_picked_button_is_framed(explorer):
    explorer.cells[0, 0].click()
    framed = [cell for cell, button in explorer.cells.items() if "#d55e00" in button.layout.border_top]
    assert framed == [(0, 0)]


def test_pages_hold_every_knee_once(explorer, predictions):
    explorer.show(true=0, pred=0)
    seen = shown(explorer.gallery.value)
    while not explorer.next.disabled:
        explorer.next.click()
        seen += shown(explorer.gallery.value)
    assert seen == list(confused(predictions, 0, 0)["knee_id"])
    explorer.previous.click()
    assert explorer.state.page == page_count(len(seen), explorer.state) - 2


def test_the_flipped_view_stands_beside_the_knee_and_takes_two_places(explorer, predictions):
    explorer.show(true=0, pred=0)
    explorer.flip.value = True
    assert len(shown(explorer.gallery.value)) == 6
    assert explorer.gallery.value.count('class="koa-mirror"') == 6
    assert explorer.gallery.value.count('class="koa-bar ') == 6 * 2 * 5


def test_turning_the_flipped_view_on_keeps_the_first_knee(predictions):
    state = ExplorerState(0, 0, page=1)
    first = chosen_knees(predictions, state).iloc[12]["knee_id"]
    flipped = state.change(show_flip=True)
    assert chosen_knees(predictions, flipped).iloc[flipped.page * flipped.page_size]["knee_id"] == first
    assert flipped.change(show_flip=False) == state
    assert state.change(sort="flip").page == 0


def test_the_flip_order_starts_with_the_knee_that_changes_most(explorer, predictions):
    explorer.show(true=1, pred=None)
    explorer.sort.value = "flip"
    kl1 = predictions[predictions["kl"] == 1].set_index("knee_id")
    change = sum(abs(kl1[f"p{grade}"] - kl1[f"p{grade}_flip"]) for grade in range(5))
    assert shown(explorer.gallery.value)[0] == change.idxmax()


def test_an_empty_cell_says_what_to_do(predictions):
    counts = cell_counts(predictions)
    true, pred = (int(grade) for grade in np.argwhere(counts == 0)[0])
    html = page.gallery_html(predictions, ExplorerState(true, pred))
    assert "pick a cell with a number" in html
    assert "koa-card" not in html


def test_an_empty_side_points_to_the_other_and_an_absent_grade_to_other_rows(predictions):
    knees = predictions[(predictions["kl"] != 4) & ~((predictions["kl"] == 1) & (predictions["side"] == "L"))]
    assert "choose “both sides”" in advice(knees, ExplorerState(1, None, side="L"))
    assert "pick another row" in advice(knees, ExplorerState(4, None))
    assert headline(knees, ExplorerState(4, 4)) == "KL4 graded KL4: 0 of 0 KL4 knees."
    assert advice(knees, ExplorerState(1, None, side="R")) == ""


def test_it_opens_at_the_commonest_mistake_about_kl1_or_the_next_best(predictions):
    counts = cell_counts(predictions)[1]
    state = initial_state(predictions)
    assert state.true == 1
    assert counts[state.pred] == np.delete(counts, 1).max()
    perfect = predictions.assign(pred=predictions["kl"])
    assert initial_state(perfect).true == initial_state(perfect).pred
    no_kl1 = predictions[predictions["kl"] != 1]
    assert initial_state(no_kl1).true != initial_state(no_kl1).pred


def test_without_images_it_works_and_says_so(predictions):
    html = ConfusionExplorer(predictions).snapshot()
    assert "pass images=cohort" in html
    assert "<img" not in html
    assert drive(ConfusionExplorer(predictions)) > 35


def test_the_cohorts_own_image_is_shown_whatever_the_order_of_its_rows(predictions, images):
    table = predictions[["knee_id", "patient", "side", "split", "kl", "file", "inverted"]].assign(sha256="0")
    cohort = Cohort("made-up", images, table, "f" * 16).take(np.arange(len(predictions))[::-1])
    find = page.thumbnail_finder(cohort, predictions)
    assert find(predictions["knee_id"][5]) == page.thumbnail(images[5])
    with pytest.raises(KoaError, match="not in the cohort"):
        ConfusionExplorer(predictions, cohort.take(np.arange(3)))
    with pytest.raises(KoaError, match="do not fit"):
        ConfusionExplorer(predictions, images[:3])


def test_a_thumbnail_is_a_small_grey_png_that_spans_black_to_white():
    ramp = np.tile(np.linspace(0, 255, 224).astype(np.uint8), (224, 1))
    uri = page.thumbnail(ramp)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert picture.shape == (112, 112)
    assert picture.dtype == np.uint8
    assert (picture.min(), picture.max()) == (0, 255)
    assert len(np.unique(picture)) <= 32
    assert abs(picture.astype(float) - ramp[::2, ::2]).max() <= 12


def test_everything_typed_by_someone_is_escaped(predictions, images):
    nasty = '<script>alert("1")</script>'
    predictions.loc[:, "knee_id"] = nasty + predictions["knee_id"]
    predictions["side"] = nasty
    explorer = ConfusionExplorer(predictions, images, [nasty] * 5)
    explorer.show(side=nasty, show_flip=True)
    for html in (
        explorer.snapshot(),
        explorer.gallery.value,
        explorer.headline.value,
        page.error_html(ValueError(nasty)),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert f'"{nasty}' not in html


def test_prompts_are_told_on_pointing_and_must_be_five(explorer, predictions):
    assert 'title="KL1: This is a Doubtful case' in explorer.gallery.value
    with pytest.raises(KoaError):
        ConfusionExplorer(predictions, prompts=["one", "two"])


def test_a_page_without_a_kernel_gets_a_small_html_snapshot(make_predictions):
    knees = make_predictions(413)
    noise = np.random.default_rng(0).integers(0, 256, (len(knees), 224, 224), dtype=np.uint8)
    explorer = ConfusionExplorer(knees, noise, "paper")
    bundle = explorer._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/html", VIEW}
    assert bundle[VIEW]["model_id"] == explorer.widget.model_id
    assert bundle["text/html"].count("<img") == 12
    assert bundle["text/html"].count("<td") == 25
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|<script", bundle["text/html"])
    assert bundle["text/plain"].startswith("ConfusionExplorer(KL1 graded")
    assert len(json.dumps(bundle)) < 400_000  # noise is what a PNG compresses worst


def test_the_page_does_not_jump(explorer):
    heights = set()
    for state in ({"true": 0, "pred": 4}, {"true": 0, "pred": 0}, {"show_flip": True}):
        explorer.show(**state)
        heights.add((explorer.gallery.layout.height, explorer.headline.layout.height))
    assert heights == {("516px", "86px")}


def test_driving_uses_every_control_and_leaves_the_state_as_it_was(explorer):
    before = explorer.state
    assert drive(explorer) >= 25 + 5 + 1 + 2 + 3 + 3 + 2
    assert explorer.state == before
    assert (explorer.sort.value, explorer.side.value, explorer.flip.value) == ("closest", "all", False)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_driving_fails_when_a_click_fails_although_ipywidgets_swallows_it(explorer, monkeypatch, strict):
    monkeypatch.setenv("KOA_STRICT", strict)

    def torn(knee):
        raise OSError(f"<b>{knee}</b> cannot be read")

    explorer.find = torn
    with pytest.raises(OSError, match="cannot be read"):
        drive(explorer)
    assert "&lt;b&gt;" in explorer.gallery.value
    assert "OSError" in explorer.gallery.value


def test_a_failing_control_shows_its_error_and_raises_only_when_strict(explorer, monkeypatch):
    monkeypatch.setattr(page, "gallery_html", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explorer.sort.value = "flip"
    monkeypatch.setenv("KOA_STRICT", "0")
    explorer.sort.value = "confident"
    assert "ZeroDivisionError: division by zero" in explorer.gallery.value
    monkeypatch.undo()
    explorer.cells[0, 0].click()
    assert explorer.failure is None
    assert "ZeroDivisionError" not in explorer.gallery.value


def test_driving_fails_when_a_control_does_nothing(explorer, monkeypatch):
    monkeypatch.setattr(explorer, "_apply", lambda **changes: None)
    with pytest.raises(RuntimeError, match="A control of the explorer failed"):
        drive(explorer)


@pytest.mark.parametrize("wrong", [{"true": 5}, {"pred": -1}, {"sort": "luck"}, {"page": -1}])
def test_a_state_that_cannot_be_is_refused(wrong):
    with pytest.raises(KoaError):
        ExplorerState(**wrong)


def test_an_unknown_side_is_refused_and_a_page_past_the_end_becomes_the_last(explorer, predictions):
    with pytest.raises(KoaError, match="no side"):
        explorer.show(side="middle")
    state = on_a_page(predictions, ExplorerState(1, None, page=99))
    assert state.page == page_count(int((predictions["kl"] == 1).sum()), state) - 1


def test_bars_mark_both_grades_follow_the_similarities_and_carry_the_flipped_view(predictions):
    state = ExplorerState(1, 0)
    html = page.gallery_html(predictions, state)
    cards = html.split('<figure class="koa-card">')[1:]
    for card, knee in zip(cards, chosen_knees(predictions, state).itertuples(), strict=False):
        assert re.findall(r'koa-bar koa-pred" title="[^"]*">(\d)', card) == [str(knee.pred)]
        assert re.findall(r'koa-bar koa-true" title="[^"]*">(\d)', card) == [str(knee.kl)]
        widths = [int(width) for width in re.findall(r'<i style="width:(\d+)%', card)]
        s = [getattr(knee, f"s{grade}") for grade in range(5)]
        assert len(widths) == 5
        assert widths[np.argmax(s)] == max(widths)
        assert f"similarity {knee.s3:.2f}, p {knee.p3:.1%}\nflipped: similarity {knee.s3_flip:.2f}" in card
        assert len(re.findall(r"<s[ >]", card)) == 5
        assert card.count("koa-wins") == (knee.pred_flip != knee.pred)
