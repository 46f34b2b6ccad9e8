"""A prompt set that is edited step by step, with undo, and what the model says of every knee at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, probabilities
from koa_kit.errors import KoaError
from koa_kit.prompts import PromptSet
from koa_kit.workbench.prompts.encoder import PromptEncoder, rescore

FARTHEST = 0.05
"""How far a probability may lie from the table when the model's own words are read anew: half precision passes."""


class PromptEditor:
    """A prompt set that is edited step by step, and what the model says of every knee at each step.

    It starts from the model's own prompt set, `original`, with the predictions `before`. Embeddings must be as for
    `rescore`, and give the predictions with these words.
    """

    def __init__(self, predictions: pd.DataFrame, embeddings: np.ndarray, encoder: PromptEncoder):
        self.original, self.before = encoder.prompts, rescore(predictions, embeddings, encoder, encoder.prompts)
        far = max(abs(probabilities(self.before, view) - probabilities(predictions, view)).max() for view in VIEWS)
        if far > FARTHEST:
            raise KoaError(
                f"With the model's own words a probability differs by {far:.2f} from the predictions.",
                where="predictions, embeddings and encoder",
                remedy="Give all three of one model and the same knees, row for row.",
            )
        self._predictions, self._embeddings, self.encoder = predictions, embeddings, encoder
        self._steps, self._at = (self.original,), 0
        self._rescored = (self.original, self.before)

    @property
    def present(self) -> PromptSet:
        """The prompt set as it is now."""
        return self._steps[self._at]

    @property
    def history(self) -> list[PromptSet]:
        """Every prompt set from the original to the present one."""
        return list(self._steps[: self._at + 1])

    @property
    def can_undo(self) -> bool:
        """There is a step to take back."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """There is a step that was taken back."""
        return self._at + 1 < len(self._steps)

    @property
    def table(self) -> pd.DataFrame:
        """Predictions with the present words, computed when first asked for; not to be changed in place."""
        if self._rescored[0] is not self.present:
            self._rescored = (self.present, rescore(self._predictions, self._embeddings, self.encoder, self.present))
        return self._rescored[1]

    def edit(self, grade: int, sentences: str | Sequence[str]) -> PromptSet:
        """The present prompt set after `grade` got these words; nothing changes when they are refused."""
        texts = tuple(sentences) if isinstance(sentences, list | tuple) else (sentences,)
        prompts = self.present.with_grade(grade, *texts).prompts
        changed = [f"KL{k}" for k, words in enumerate(prompts) if words != self.original.prompts[k]]
        source = f"{self.original.source}; {' and '.join(changed)} reworded"
        named = replace(self.original, name=f"{self.original.name}*", source=source, prompts=prompts)
        return self._step(named if changed else self.original)

    def undo(self) -> PromptSet:
        """The prompt set of one step back; `KoaError` if there is none."""
        if not self.can_undo:
            raise KoaError("There is no step to take back.", remedy="Edit a grade first.")
        self._at -= 1
        return self.present

    def redo(self) -> PromptSet:
        """The prompt set whose step was taken back last; `KoaError` if there is none."""
        if not self.can_redo:
            raise KoaError("No step was taken back.", remedy="Undo one first.")
        self._at += 1
        return self.present

    def reset(self) -> PromptSet:
        """The original prompt set again, as a step that can be undone."""
        return self._step(self.original)

    def _step(self, prompts: PromptSet) -> PromptSet:
        if prompts.prompts == self.present.prompts:
            return self.present
        # a sentence that cannot be read is refused here, before anything has changed
        self.encoder.embed(prompts.sentences)
        self._steps, self._at = (*self._steps[: self._at + 1], prompts), self._at + 1
        return self.present
