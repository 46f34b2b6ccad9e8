"""The workbench shows what its state says, survives bad input, and keeps what readers say."""

import base64
import io
import json
import re
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from koa_kit.error_analysis import compute_metrics, confusion
from koa_kit.error_analysis.decisions.decision import DecisionRule, apply_rule
from koa_kit.error_analysis.predictions import margin
from koa_kit.errors import KoaError
from koa_kit.prompts import prompt_set
from koa_kit.workbench import Message, Workbench, drive, workbench
from koa_kit.workbench.page import svg
from koa_kit.workbench.page.pictures import thumbnail, viewed
from koa_kit.workbench.prompts.editor import PromptEditor
from koa_kit.workbench.selection.filters import Filters
from koa_kit.workbench.state import PAGE, Viewing
from koa_kit.workbench.tables import later_grades

VIEW = "application/vnd.jupyter.widget-view+json"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class SyntheticEditor(PromptEditor):
    """An editor whose words move every KL0 answer to KL1 once a grade is reworded; it needs no model."""

    def __init__(self, predictions):
        self.original, self.before = prompt_set("paper"), predictions
        self._steps, self._at = (self.original,), 0
        self._moved = predictions.assign(pred=predictions["pred"].replace(0, 1))
        self.encoder = SimpleNamespace(embed=lambda sentences: None)

    @property
    def table(self):
        return self.before if self.present is self.original else self._moved


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    monkeypatch.setenv("KOA_STRICT", "1")


@pytest.fixture
def make_bench(images, tmp_path):
    """A workbench of these predictions with radiographs, embeddings, words and a log."""
    raw = np.random.default_rng(0).normal(size=(len(images), 2, 8)).astype(np.float32)
    whole = {"embeddings": raw / np.linalg.norm(raw, axis=-1, keepdims=True), "log": tmp_path / "verdicts.jsonl"}
    return lambda table: Workbench(table, images, prompt_editor=SyntheticEditor(table), **whole)


@pytest.fixture
def bench(predictions, make_bench):
    return make_bench(predictions)


def page_message(bench, answer, grade=None, *, reader, note=""):
    """What the page sends when a button of the form is pressed."""
    shown = bench.panels["Knees"].review.widget.shown
    about = {"knee": shown["knee"], "kl": shown["kl"], "seen": shown["last"].get(reader, "")}
    return about | {"id": uuid4().hex, "reader": reader, "answer": answer, "grade": grade, "note": note}


def picks(html):
    return re.findall(r'data-pick="([^"]*)"', html)


def opened(bench, title):
    """The panel of this title, in view."""
    bench.tabs.selected_index = bench.titles.index(title)
    return bench.panels[title]


def test_every_control_does_something_and_nothing_fails(bench):
    before = bench.state
    assert drive(bench) > 60
    assert (bench.state, bench.failure) == (before, None)
    assert bench.log.read().empty


def test_a_cell_fills_the_gallery_with_its_knees_the_closest_first(bench, predictions):
    panel = bench.panels["Knees"]
    panel.matrix.pick("2,1")
    found = picks(panel.gallery.html)
    knees = predictions.query("kl == 2 and pred == 1")
    assert found == knees["knee_id"].iloc[np.argsort(margin(knees), kind="stable")].tolist()[:PAGE]
    assert found[0] in panel.knee.value
    assert panel.matrix.chosen == "2,1"


def test_a_picked_knee_is_shown_large_with_its_other_knee_and_its_nearest(bench, predictions):
    panel = bench.panels["Knees"]
    knee = picks(panel.gallery.html)[2]
    panel.gallery.pick(knee)
    assert knee in panel.knee.value
    assert panel.knee.value.count("<img") == 2
    other = knee[:-1] + {"L": "R", "R": "L"}[knee[-1]]
    beside = picks(panel.neighbours.html)
    assert beside[0] == other
    assert len(beside) == 6
    panel.beside.value = "other"
    assert f"knee {other}" in panel.knee.value
    panel.neighbours.pick(other)
    assert panel.knee.value.index(other) < panel.knee.value.index(knee)


def test_every_number_follows_the_filter_and_tells_its_n(bench, predictions):
    bench.filters.side.value = ("L",)
    left = predictions[predictions["side"] == "L"]
    assert bench.tables.counts(bench.state).sum() == len(left)
    assert f"{len(left):,} of {len(predictions):,} knees" in bench.filters.scores.value
    assert f"{100 * compute_metrics(left)['accuracy']:.1f} %" in bench.filters.scores.value
    assert "left knees" in bench.filters.scores.value


def test_a_condition_on_a_column_becomes_a_chip_that_takes_it_away(bench, predictions):
    bar = bench.filters
    bar.column.value, bar.operator.value, bar.value.value = "patient", "is", predictions["patient"].iat[0]
    bar.add.click()
    assert bench.tables.mask(bench.state).sum() == 2
    assert picks(bar.chips.html) == ["0"]
    bar.chips.pick("0")
    assert bench.tables.mask(bench.state).all()


def test_a_filter_that_leaves_no_knee_says_what_to_do_in_every_tab(bench):
    bench.show(filters=Filters(columns=(("knee_id", "is", "nobody"),)))
    assert "take one away" in bench.panels["Knees"].gallery.html
    for title in bench.titles:
        opened(bench, title)
        assert bench.failure is None
    assert "0 of 120 knees" in bench.filters.scores.value


def test_a_bias_for_kl1_moves_the_matrix_as_deciding_anew_does(bench, predictions):
    panel = opened(bench, "Decisions")
    panel.bias.value = 1.5
    anew = apply_rule(predictions, DecisionRule(kl1_bias=1.5))
    assert (bench.tables.counts(bench.state) == confusion(anew)).all(axis=None)
    assert f"KL1 recall {compute_metrics(anew)['kl1_recall']:.1%}" in panel.curve.value
    assert (bench.tables.change(bench.state).sum(1) == 0).all()
    panel.reset.click()
    assert (bench.tables.change(bench.state) == 0).all()


def test_what_a_browser_rounds_is_no_choice(bench):
    panel = opened(bench, "Decisions")
    panel.bias.value = 4e-16
    panel.prior.value = round(panel.prior.value, 2) + 0.0
    assert bench.state.decision == DecisionRule()
    slider = bench.filters.margin
    slider.value = (slider.min + 0.3 * slider.step, slider.max - 0.3 * slider.step)
    assert bench.state.filters == Filters()


def test_other_words_show_the_knees_that_changed_and_can_be_undone(bench, predictions):
    panel = opened(bench, "Words")
    panel.texts[1].value = "Perhaps something.\nPerhaps not."
    moved = int((predictions["pred"] == 0).sum())
    assert f"{moved} of {len(predictions)} knees changed" in panel.summary.value
    assert bench.prompt_editor.present.prompts[1] == ("Perhaps something.", "Perhaps not.")
    assert "1. KL1: Perhaps something. / Perhaps not." in panel.past.value
    panel.undo.click()
    assert "KL1" not in panel.past.value
    assert panel.texts[1].value == prompt_set("paper").prompts[1][0]
    assert f"0 of {len(predictions)} knees changed" in panel.summary.value


@pytest.mark.parametrize("text", ["", "   \n ", "x" * 10_000])
def test_words_that_cannot_be_are_refused_in_the_page_and_change_nothing(bench, text):
    field, before = opened(bench, "Words").texts[3], bench.prompt_editor.present
    bench.quietly(lambda: setattr(field, "value", text))
    assert isinstance(bench.failure, KoaError)
    assert "koa-error" in bench.message.value
    assert bench.prompt_editor.present is before


def test_a_script_in_a_prompt_a_name_or_a_note_is_shown_as_text(predictions, make_bench):
    bench = make_bench(predictions.assign(knee_id=[f"{EVIL}{row}" for row in range(len(predictions))]))
    form = bench.panels["Knees"].review
    form.press("agree", reader=EVIL[:100], note=EVIL)
    opened(bench, "Words").texts[0].value = EVIL
    seen = [bench.snapshot(), bench.filters.scores.value, form.widget.shown["summary"]]
    for title in bench.titles:
        panel = opened(bench, title)
        seen += [value for part in vars(panel).values() if isinstance(value := getattr(part, "value", None), str)]
        seen += [part.html for part in vars(panel).values() if hasattr(part, "html")]
    shown = [text for text in seen if text not in (EVIL, EVIL[:100])]  # the fields themselves hold what was typed
    assert any("&lt;script&gt;" in text for text in shown)
    assert not any("<script" in text or "<img src=x" in text for text in shown)


def test_a_review_is_on_disk_when_the_click_returns_and_shows_up_in_another_workbench(bench, predictions, tmp_path):
    form = bench.panels["Knees"].review
    knee = bench.knee()
    proposed = (int(knee["kl"]) + 1) % 5
    form.press("disagree", proposed, reader="Ann", note="osteophyte, medial")
    assert f"Ann</b> disagrees: KL{proposed}" in form.widget.shown["summary"]
    again = Workbench(predictions, log=tmp_path / "verdicts.jsonl")
    said = again.log.latest().iloc[0]
    assert (said["knee_id"], said["grade"], said["note"]) == (knee["knee_id"], proposed, "osteophyte, medial")
    reviews = opened(again, "Reviews")
    assert "1 review of 1 knee by 1 reader." in reviews.summary.value
    reviews.export.click()
    assert len(pd.read_csv(tmp_path / "verdicts.csv", dtype={"patient": str})) == 1
    again.panels["Knees"].review.press("bad_image", reader="Bo")
    bench.draw()
    assert "Bo</b> bad image" in form.widget.shown["summary"]


def test_a_review_is_of_the_knee_it_was_pressed_on_whatever_is_open_when_it_arrives(bench):
    panel = bench.panels["Knees"]
    first, second = picks(panel.gallery.html)[:2]
    said = page_message(bench, "agree", reader="Ann", note="about the first")
    panel.gallery.pick(second)
    panel.review.widget.send = (answers := []).append
    panel.review.widget._handle_custom_msg({"review": said}, [])
    assert bench.log.read()[["knee_id", "note"]].to_numpy().tolist() == [[first, "about the first"]]
    assert answers == [{"saved": said["id"]}]
    assert panel.review.widget.shown["knee"] == second


def test_a_review_that_comes_again_counts_once_and_one_of_other_knees_or_grades_is_refused(bench):
    form, answers = bench.panels["Knees"].review, []
    form.widget.send = answers.append
    said = page_message(bench, "agree", reader="Ann")
    for each in (said, said):
        form.widget._handle_custom_msg({"review": each}, [])
    assert len(bench.log.read()) == 1
    assert answers == [{"saved": said["id"]}] * 2
    assert len(bench.log.path.read_bytes().splitlines()) == 1
    for odd, told in (({"knee": "nobody"}, "not in these"), ({"kl": 4}, "KL4 when"), ({"reader": ""}, "Whose review")):
        bench.quietly(lambda odd=odd: form.widget._handle_custom_msg({"review": said | {"id": "0" * 32} | odd}, []))
        assert told in bench.message.value
        assert answers[-1] == {"refused": "0" * 32}
    assert len(bench.log.read()) == 1


def test_the_second_of_two_pages_is_told_what_the_first_said_before_it_may_replace_it(bench, predictions):
    other = Workbench(predictions, log=bench.log.path)
    bench.panels["Knees"].review.press("disagree", 4, reader="Ann", note="first page")
    second = other.panels["Knees"].review
    other.quietly(lambda: second.press("bad_image", reader="Ann"))
    assert "Ann disagrees: KL4 “first page” was said of this knee meanwhile" in other.message.value
    assert bench.log.latest()["answer"].tolist() == ["disagree"]
    assert "Ann</b> disagrees: KL4" in second.widget.shown["summary"]
    other.panels["Knees"].review.press("agree", reader="Bo")  # another reader replaces nothing
    second.press("bad_image", reader="Ann")
    assert bench.log.latest().set_index("reader")["answer"].to_dict() == {"Ann": "bad_image", "Bo": "agree"}


def test_a_filter_that_excludes_the_open_knee_closes_it(bench, predictions):
    panel = bench.panels["Knees"]
    left = next(knee for knee in picks(panel.gallery.html) if knee.endswith("L"))
    panel.gallery.pick(left)
    bench.filters.side.value = ("L",)
    assert panel.review.widget.shown["knee"] == left
    bench.filters.side.value = ("R",)
    assert left not in panel.knee.value
    assert panel.review.widget.shown["knee"] == panel.gallery.chosen == picks(panel.gallery.html)[0]
    bench.show(filters=Filters(columns=(("knee_id", "is", "nobody"),)))
    assert panel.knee.value == panel.gallery.chosen == panel.review.widget.shown["knee"] == ""


def test_a_knee_opened_from_outside_the_filters_can_be_looked_at_and_not_judged(bench):
    panel = bench.panels["Knees"]
    bench.filters.side.value = ("R",)
    right = panel.gallery.chosen
    panel.neighbours.pick(right[:-1] + "L")
    assert right[:-1] + "L" in panel.knee.value
    assert "does not pass the filters" in panel.review.widget.shown["closed"]
    assert panel.review.uses() == []
    bench.filters.clear.click()
    assert panel.review.widget.shown["closed"] == ""


def test_without_images_model_or_log_the_page_works_and_says_so(predictions):
    bench = Workbench(predictions)
    assert "No X-rays at hand" in bench.snapshot()
    assert "No X-ray at hand" in bench.panels["Knees"].knee.value
    assert drive(bench) > 50
    bench.quietly(lambda: bench.panels["Knees"].review.press("agree", reader="Ann"))
    assert "keeps no reviews" in str(bench.failure)


def test_a_table_or_prompts_that_do_not_fit_are_an_error_or_a_message_in_the_page(predictions, monkeypatch):
    table = predictions.drop(columns=["p1", "pred"])
    with pytest.raises(KoaError, match="lack p1, pred"):
        workbench(table)
    with pytest.raises(KoaError):
        workbench(predictions, prompts=["one", "two"])
    monkeypatch.delenv("KOA_STRICT")
    shown = workbench(table)
    assert isinstance(shown, Message)
    assert "lack p1, pred" in shown._repr_html_()


def test_a_control_that_fails_leaves_the_state_as_it_was(bench):
    before = bench.state
    bench.quietly(lambda: bench.panels["Knees"].matrix.pick("9,9"))
    assert bench.state == before
    assert "no cell" in bench.message.value
    bench.panels["Knees"].matrix.pick("0,0")
    assert bench.message.value == ""


def test_a_narrow_window_turns_grey_into_black_and_white_and_the_full_one_changes_nothing():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (viewed(grey, Viewing()) == grey).all()
    assert (viewed(grey, Viewing(inverted=True)) == 255 - grey).all()
    narrow = viewed(grey, Viewing(level=100, window=2)).ravel()
    assert (narrow[:99] == 0).all()
    assert (narrow[102:] == 255).all()


def test_later_grades_come_from_visits_or_from_a_phantoms_own_columns(predictions):
    knee = predictions.iloc[0]
    visits = pd.DataFrame({"months": [24, 0, 12], "kl": [3, 1, 2]}).assign(patient=knee["patient"], side=knee["side"])
    assert later_grades(predictions, visits) == {knee["knee_id"]: [(12, 2), (24, 3)]}
    own = pd.DataFrame({"knee_id": [knee["knee_id"], "nobody"], "kl_24": [2, 0], "kl_12": [1, 0]})
    assert later_grades(predictions, own) == {knee["knee_id"]: [(12, 1), (24, 2)]}
    with pytest.raises(KoaError, match="no later grades"):
        later_grades(predictions, pd.DataFrame({"patient": []}))


def test_a_plot_leaves_out_what_is_no_number_and_keeps_labels_inside():
    gap, none = float("nan"), svg.Line([0.5], [float("nan")], "#000", dots=True)
    drawn = svg.plot([svg.Line([0, 0.5, 1], [0.2, gap, 0.9], "#000", "end"), none], title="<b>", x="x", y="y")
    assert "nan" not in drawn
    assert "&lt;b&gt;" in drawn
    assert re.search(r'text-anchor="end" y="[\d.]+" fill="#000">end', drawn)


def test_a_thumbnail_is_a_small_grey_png_that_spans_black_to_white():
    ramp = np.tile(np.linspace(0, 255, 224).astype(np.uint8), (224, 1))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnail(ramp).split(",")[1]))))
    assert (picture.shape, picture.dtype) == ((112, 112), np.uint8)
    assert (picture.min(), picture.max()) == (0, 255)
    assert len(np.unique(picture)) <= 32
    assert abs(picture.astype(float) - ramp[::2, ::2]).max() <= 12


def test_bars_mark_both_grades_follow_the_similarities_and_carry_the_mirror_image_and_the_prompt(bench, predictions):
    panel = bench.panels["Knees"]
    panel.matrix.pick("1,0")
    knees = predictions.set_index("knee_id")
    cards = panel.gallery.html.split('<figure class="koa-card"')[1:]
    assert cards
    for name, card in zip(picks(panel.gallery.html), cards, strict=True):
        knee = knees.loc[name]
        assert re.findall(r'koa-bar koa-pred" title="[^"]*">(\d)', card) == [str(knee["pred"])]
        assert re.findall(r'koa-bar koa-true" title="[^"]*">(\d)', card) == [str(knee["kl"])]
        widths = [int(width) for width in re.findall(r'<i style="width:(\d+)%', card)]
        assert widths[np.argmax([knee[f"s{grade}"] for grade in range(5)])] == max(widths)
        assert f"similarity {knee['s3']:.2f}, p {knee['p3']:.1%}\nflipped: similarity {knee['s3_flip']:.2f}" in card
        assert 'title="KL1: This is a Doubtful case' in card
        assert card.count("koa-wins") == (knee["pred_flip"] != knee["pred"])


def test_a_page_without_a_kernel_gets_a_small_html_snapshot(make_predictions):
    knees = make_predictions(413)
    noise = np.random.default_rng(0).integers(0, 256, (len(knees), 224, 224), dtype=np.uint8)
    bench = Workbench(knees, noise, prompts="paper")
    bundle = bench._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/html", VIEW}
    assert bundle[VIEW]["model_id"] == bench.widget.model_id
    assert bundle["text/html"].count("<img") == PAGE + 2
    assert bundle["text/html"].count("<td") == 25
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|<script", bundle["text/html"])
    assert bundle["text/plain"].startswith("Workbench(All")
    assert len(json.dumps(bundle)) < 500_000  # noise is what a PNG compresses worst
