"""Other words move the grades and leave the knees: their embeddings stay, and every step can be taken back."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from koa_kit.data.splits import HOLDOUT
from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.pretrained import load_pretrained
from koa_kit.prompts import from_texts, prompt_set
from koa_kit.training import predict
from koa_kit.workbench.prompts.editor import PromptEditor
from koa_kit.workbench.prompts.encoder import ANSWERS, PromptEncoder, rescore

OTHER = from_texts(
    [
        "No osteophyte.",
        ["A doubtful osteophyte.", "One is not sure.", "Perhaps a lip of bone at the margin."],
        "A definite osteophyte.",
        ["Narrowed joint space.", "Several osteophytes."],
        "Bone on bone.",
    ],
    "other",
)
KINDS = {
    "plain": {},
    "both views averaged": {"flip_pooling": True},
    "climbing": {"output": "corn"},
    "climbing, averaged": {"output": "corn", "flip_pooling": True},
    "trained words": {"locked": ()},
}


def model_of(prompts="paper", **choices):
    return build_model(prompts=prompts, image_size=32, seed=4, **choices)


@pytest.fixture(scope="module")
def val(knees):
    return knees.split("val")


@pytest.fixture(scope="module")
def told(val):
    """Predictions and embeddings of the plain model."""
    return predict(model_of(), val)


@pytest.fixture
def run():
    return load_pretrained(device="cpu")


@pytest.fixture
def prompt_editor(told):
    return PromptEditor(*told, PromptEncoder(model_of()))


@pytest.mark.parametrize("choices", KINDS.values(), ids=KINDS)
def test_a_rescored_table_is_that_of_a_model_made_with_those_words(choices, val):
    before, embeddings = predict(model_of(**choices), val)
    expected, _ = predict(model_of(OTHER, **choices), val)
    encoder = PromptEncoder(model_of(**choices))
    pd.testing.assert_frame_equal(rescore(before, embeddings, encoder, OTHER), expected, rtol=0, atol=1e-3)
    pd.testing.assert_frame_equal(rescore(before, embeddings, encoder, "paper"), before, rtol=0, atol=1e-3)
    assert abs(before["p1"] - expected["p1"]).max() > 0.01, "words that change nothing test nothing"


def test_the_model_that_comes_with_the_kit_repeats_its_own_tables_from_its_own_words(run):
    encoder = PromptEncoder(run.model)
    for stem in ("", f"{HOLDOUT}-"):
        kept = pd.read_parquet(run.folder / f"{stem}predictions.parquet")
        again = rescore(kept, np.load(run.folder / f"{stem}embeddings.npy"), encoder, run.model.spec.prompts)
        pd.testing.assert_frame_equal(again, kept, rtol=0, atol=1e-3)


def test_only_new_sentences_are_read_in_evaluation_mode_and_the_model_is_left_as_it_was():
    model, read = model_of(locked=()).train(), []
    model.text_tower.register_forward_hook(lambda tower, tokens, _: read.append((len(tokens[0]), tower.training)))
    encoder = PromptEncoder(model)
    encoder.grades("paper")
    encoder.grades("paper")
    encoder.grades(prompt_set("paper").with_grade(1, "A new one.", "A newer one.", "A new one."))
    assert read == [(5, False), (2, False)]
    assert model.training
    assert model.text_tower.training
    assert model.spec.prompts == prompt_set("paper")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_columns_of_the_knee_stay_and_those_of_the_answer_go(told):
    before = told[0].assign(exposure=np.arange(len(told[0]))).set_index(np.arange(len(told[0]))[::-1])
    after = rescore(before, told[1], PromptEncoder(model_of()), OTHER)
    kept = [name for name in before if name not in ANSWERS]
    pd.testing.assert_frame_equal(after[kept], before[kept])
    assert list(after) == list(before)
    assert "exposure" in kept


SPOILED = {
    "a knee less": lambda e: e[:-1],
    "one view": lambda e: e[:, 0],
    "another space": lambda e: e[..., :-1],
    "whole numbers": lambda e: e.astype(int),
    "not finite": lambda e: np.where(np.arange(len(e))[:, None, None] == 3, np.nan, e),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_embeddings_that_do_not_fit_are_refused(told, spoil):
    with pytest.raises(KoaError, match=r"do not fit|not finite"):
        rescore(told[0], spoil(told[1]), PromptEncoder(model_of()), OTHER)


def test_embeddings_of_other_knees_answers_of_another_model_and_one_without_words_are_found_out(run):
    told, embeddings = run.predictions, np.load(run.folder / "embeddings.npy")
    encoder = PromptEncoder(run.model)
    assert len(PromptEditor(told, embeddings, encoder).table) == len(told)
    with pytest.raises(KoaError, match="own words"):
        PromptEditor(told, embeddings[::-1], encoder)
    with pytest.raises(KoaError, match="no words"):
        PromptEncoder(model_of(head="linear"))
    run.model.spec = replace(run.model.spec, flip_pooling=False)
    with pytest.raises(KoaError, match="own words"):
        PromptEditor(told, embeddings, encoder)


def test_editing_one_grade_changes_its_similarity_and_no_other_and_the_same_words_again_are_no_step(prompt_editor):
    for words in ("A knee one is not sure about.", ("A knee one is not sure about.",)):
        prompt_editor.edit(1, words)
    assert len(prompt_editor.history) == 2
    before, after = prompt_editor.before, prompt_editor.table
    assert abs(after["s1"] - before["s1"]).max() > 0.01
    for grade in (0, 2, 3, 4):
        np.testing.assert_array_equal(after[f"s{grade}"], before[f"s{grade}"])


def test_every_step_can_be_taken_back_and_made_again(prompt_editor):
    first = prompt_editor.original
    second = prompt_editor.edit(1, "Unsure.")
    third = prompt_editor.edit(1, ["Unsure.", "Perhaps."])
    tables = prompt_editor.table
    assert prompt_editor.history == [first, second, third]
    assert (prompt_editor.undo(), prompt_editor.undo()) == (second, first)
    assert not prompt_editor.can_undo
    pd.testing.assert_frame_equal(prompt_editor.table, prompt_editor.before)
    assert (prompt_editor.redo(), prompt_editor.redo()) == (second, third)
    assert not prompt_editor.can_redo
    pd.testing.assert_frame_equal(prompt_editor.table, tables)


def test_a_new_edit_takes_the_place_of_what_was_undone_and_a_reset_can_be_undone(prompt_editor):
    prompt_editor.edit(1, "Unsure.")
    prompt_editor.undo()
    edited = prompt_editor.edit(2, ["Sure.", "Certain."])
    assert not prompt_editor.can_redo
    assert prompt_editor.history == [prompt_editor.original, edited]
    assert prompt_editor.reset() == prompt_editor.original
    pd.testing.assert_frame_equal(prompt_editor.table, prompt_editor.before)
    assert prompt_editor.undo() == edited


def test_an_edited_set_says_which_grades_were_reworded(prompt_editor):
    prompt_editor.edit(1, "Unsure.")
    edited = prompt_editor.edit(3, "Narrow.")
    assert (edited.name, edited.source[-20:]) == ("paper*", "KL1 and KL3 reworded")
    prompt_editor.undo()
    assert prompt_editor.edit(1, prompt_editor.original.prompts[1]) == prompt_editor.original


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda p: p.edit(1, "  "), "empty"),
        (lambda p: p.edit(1, []), "empty"),
        (lambda p: p.edit(1, None), "not text"),
        (lambda p: p.edit(1, ["Unsure.", 3]), "not text"),
        (lambda p: p.edit(1, "x" * 2001), "longer"),
        (lambda p: p.edit(5, "A sixth grade."), "no grade"),
        (lambda p: p.redo(), "taken back"),
    ],
)
def test_a_refused_edit_leaves_everything_as_it_was(prompt_editor, edit, says):
    prompt_editor.edit(2, "Certain.")
    history, table = prompt_editor.history, prompt_editor.table
    with pytest.raises(KoaError, match=says):
        edit(prompt_editor)
    assert prompt_editor.history == history
    assert prompt_editor.table is table
    prompt_editor.undo()
    with pytest.raises(KoaError, match="no step"):
        prompt_editor.undo()


def test_a_sentence_the_tower_fails_on_leaves_everything_as_it_was(prompt_editor, monkeypatch):
    def fail(sentences):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(prompt_editor.encoder.model, "sentence_vectors", fail)
    with pytest.raises(RuntimeError):
        prompt_editor.edit(1, "Unsure.")
    assert prompt_editor.present == prompt_editor.original
    assert not prompt_editor.can_undo
