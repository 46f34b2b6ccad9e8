"""The words of the grades: five a set, each with a source."""

import pytest

from koa_kit.errors import KoaError
from koa_kit.prompts import PromptSet, from_texts, prompt_set, prompt_sets


def test_every_prompt_set_of_the_kit_has_five_grades_and_a_source():
    assert {"paper", "kellgren-lawrence", "attributes"} <= set(prompt_sets())
    for words in prompt_sets().values():
        assert len(words.prompts) == 5
        assert len(set(words.prompts)) == 5, "two grades share their words"
        assert len(words.source) > 10


def test_the_papers_template_takes_the_usual_word_of_each_grade():
    words = prompt_set("paper")
    for name, (sentence,) in zip(words.label_names, words.prompts, strict=True):
        assert sentence == f"This is a {name} case of knee osteoarthritis."


def test_an_ensemble_knows_the_grade_of_each_sentence():
    words = from_texts(["none", ["doubtful", "possible"], "minimal", "moderate", "severe"])
    assert words.sentences[1:3] == ["doubtful", "possible"]
    assert words.grade_of_sentence == [0, 1, 1, 2, 3, 4]


def test_rewording_kl1_leaves_the_other_grades_alone_and_changes_the_fingerprint():
    words = prompt_set("paper")
    other = words.with_grade(1, "A knee one is not sure about.")
    assert other.prompts[0] == words.prompts[0]
    assert other.prompts[2:] == words.prompts[2:]
    assert other.fingerprint != words.fingerprint
    assert PromptSet("another name", words.prompts).fingerprint == words.fingerprint


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", "b", "c", "d"], "needs 5 grades, this one has 4"),
        (["a", "b", "c", "d", "e", "f"], "has 6"),
        (["a", " ", "c", "d", "e"], "KL1 is empty"),
        (["a", [], "c", "d", "e"], "KL1 is empty"),
        (["a", "b", 3 * ("word " * 700), "d", "e"], "longer than 2,000"),
    ],
)
def test_prompts_that_do_not_describe_five_grades_are_refused(texts, message):
    with pytest.raises(KoaError, match=message):
        prompt_set(texts)


def test_an_unknown_prompt_set_is_refused_with_the_known_names():
    with pytest.raises(KoaError, match="kellgren-lawrence"):
        prompt_set("papper")


def test_a_grade_that_does_not_exist_cannot_be_reworded():
    with pytest.raises(KoaError, match="0 to 4"):
        prompt_set("paper").with_grade(5, "x")
