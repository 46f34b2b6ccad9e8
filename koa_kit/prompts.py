"""Prompt sets: what each Kellgren-Lawrence grade says in words. Data only; towers turn the words into embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import yaml

from koa_kit.errors import KoaError
from koa_kit.grades import LABEL_NAMES
from koa_kit.paths import PACKAGE

LONGEST = 2_000


@dataclass(frozen=True)
class PromptSet:
    """Five grade descriptions, KL0 first, each a tuple of one sentence or several (an ensemble), and their source.

    Raises
    ------
    KoaError
        If there are not exactly five grades, or one of them has no words, or a text longer than 2,000 characters.
    """

    name: str
    prompts: tuple[tuple[str, ...], ...]
    source: str = "yours"
    note: str = ""
    label_names: tuple[str, ...] = LABEL_NAMES

    def __post_init__(self):
        if len(self.prompts) != len(self.label_names):
            raise KoaError(
                f"A prompt set needs {len(self.label_names)} grades, this one has {len(self.prompts)}.",
                where=f"prompt set {self.name!r}",
                remedy="Give one sentence, or a list of sentences, for each of KL0 to KL4.",
            )
        for grade, sentences in enumerate(self.prompts):
            if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
                what, remedy = "is empty or not text", "Write at least one sentence for every grade."
            elif max(map(len, sentences)) > LONGEST:
                what = f"is longer than {LONGEST:,} characters"
                remedy = "Text towers read some 70 tokens: shorten it, or split it into an ensemble."
            else:
                continue
            where = f"prompt set {self.name!r}"
            raise KoaError(f"The description of KL{grade} {what}.", where=where, remedy=remedy)

    @property
    def sentences(self) -> list[str]:
        """All sentences in order of grade."""
        return [text for sentences in self.prompts for text in sentences]

    @property
    def grade_of_sentence(self) -> list[int]:
        """Grade each entry of `sentences` describes."""
        return [grade for grade, sentences in enumerate(self.prompts) for _ in sentences]

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of a sha256 over the words and the label names; the name does not count."""
        words = json.dumps([self.prompts, self.label_names], ensure_ascii=False)
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    def with_grade(self, grade: int, *sentences: str) -> PromptSet:
        """The same set with other words for one grade.

        Examples
        --------
        >>> prompt_set("paper").with_grade(1, "A knee one is not sure about.").prompts[1]
        ('A knee one is not sure about.',)
        """
        if grade not in range(len(self.prompts)):
            raise KoaError(f"There is no grade {grade!r}.", where=self.name, remedy="Grades are 0 to 4.")
        prompts = (*self.prompts[:grade], tuple(sentences), *self.prompts[grade + 1 :])
        return PromptSet(f"{self.name}*", prompts, f"{self.source}; KL{grade} reworded", self.note, self.label_names)

    def to_dict(self) -> dict:
        """Plain form for JSON: name, source, note and the sentences a grade."""
        return {"name": self.name, "source": self.source, "note": self.note, "prompts": [list(p) for p in self.prompts]}


@cache
def prompt_sets() -> dict[str, PromptSet]:
    """Every prompt set of the kit by name, in the order of ``prompt_sets.yaml``."""
    raw = yaml.safe_load((PACKAGE / "prompt_sets.yaml").read_text(encoding="utf-8"))
    return {name: from_texts(entry["prompts"], name, entry["source"], entry["note"]) for name, entry in raw.items()}


def prompt_set(name: str | PromptSet | Sequence = "paper") -> PromptSet:
    """Prompt set of that name; a `PromptSet` is passed through, a list of five texts becomes one called "custom"."""
    if isinstance(name, PromptSet):
        return name
    if not isinstance(name, str):
        return from_texts(name)
    if name not in prompt_sets():
        raise KoaError(
            f"There is no prompt set {name!r}.",
            remedy=f"Choose from {', '.join(prompt_sets())}, or give a list of five sentences.",
        )
    return prompt_sets()[name]


def from_texts(texts: Sequence, name: str = "custom", source: str = "yours", note: str = "") -> PromptSet:
    """Prompt set of five texts; an entry that is a list of texts is an ensemble."""
    texts = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str | dict) else [texts]
    if not all(isinstance(entry, str | list | tuple) for entry in texts):
        raise KoaError(f"{texts!r} are no prompts.", remedy="Give the name of a prompt set, or five sentences.")
    prompts = tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in texts)
    return PromptSet(name, prompts, source, note)
