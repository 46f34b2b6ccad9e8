"""Other words for the grades, at once: the knees keep their embeddings, only the prompts are read anew."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from koa_kit.error_analysis.predictions import NUMBERS, VIEWS, check_predictions, predictions_table, probabilities
from koa_kit.errors import KoaError
from koa_kit.model import ClipKoa
from koa_kit.model.answers import continuation_logits
from koa_kit.prompts import PromptSet, prompt_set
from koa_kit.style import GRADES

ANSWERS = (*NUMBERS, *(f"pred{view}" for view in VIEWS))
"""Columns of a predictions table that follow from the words; all others belong to the knee."""

FARTHEST = 0.05
"""How far a probability may lie from the table when the model's own words are read anew: half precision passes."""


class TextEncoder:
    """Unit vectors of sentences in the space of a model's embeddings, each sentence read once.

    It holds the model as it is now; after more training, make another.

    Parameters
    ----------
    model
        Model with prompts, of either link; it is left as it was.

    Attributes
    ----------
    prompts
        The model's own prompt set.
    scale
        Factor on the cosine, 1 / temperature.
    link, flip_pooling
        How the model reads its similarities, and whether it averages its logits over both views.

    Raises
    ------
    KoaError
        If the model has a linear head: it reads no words.
    """

    def __init__(self, model: ClipKoa):
        if model.head != "prompts":
            raise KoaError(
                "The model has a linear head: it reads no words, so other words change nothing.",
                where=f"head {model.head!r}",
                remedy="Train with head='prompts'.",
            )
        self._model, self._known = model, {}
        self.prompts, self.link, self.flip_pooling = model.prompts, model.link, model.flip_pooling
        self.scale = float(model.scale.detach())

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 ``(P, D)``; only sentences never seen before pass through the text tower."""
        new = [text for text in dict.fromkeys(sentences) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._read(new), strict=True))
        return np.stack([self._known[text] for text in sentences])

    def grades(self, prompts: str | PromptSet | Sequence) -> np.ndarray:
        """One unit vector a grade, float32 ``(5, D)``: what `ClipKoa.prompt_embeddings` gives for these prompts.

        Raises
        ------
        KoaError
            If the prompts are no prompt set; see `PromptSet`.
        """
        prompts = prompt_set(prompts)
        vectors = self.embed(prompts.sentences)
        first = np.searchsorted(prompts.grade_of_sentence, range(len(prompts.prompts)))
        # a sum points where the mean does
        sums = np.add.reduceat(vectors, first)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)

    def unread(self, prompts: str | PromptSet | Sequence) -> list[str]:
        """Sentences whose last word the text tower never sees, because they are longer than its window of tokens."""
        texts = [text for text in dict.fromkeys(prompt_set(prompts).sentences) if len(text.split()) > 1]
        if not texts:
            return []
        tokenize = self._model.towers.tokenize
        shorter = tokenize([text.rsplit(maxsplit=1)[0] for text in texts])
        return [text for text, same in zip(texts, (tokenize(texts) == shorter).all(1), strict=True) if same]

    def _read(self, sentences: list[str]) -> np.ndarray:
        model, tower, projection = self._model, self._model.text_tower, self._model.text_projection
        device, training = projection.weight.device, self._model.text_tower.training
        # as in the model: a trained text tower answers in the type it is trained in, a locked one in its own
        dtype = None if "text" in model.locked else model.compute_dtype
        tokens = model.towers.tokenize(sentences).to(device)
        tower.eval()
        try:
            with torch.inference_mode():
                with nullcontext() if dtype is None else torch.autocast(device.type, dtype):
                    features = tower(tokens)
                vectors = functional.normalize(projection(features.to(projection.weight.dtype)), dim=-1)
        finally:
            tower.train(training)
        return vectors.float().cpu().numpy()


def reworded(
    predictions: pd.DataFrame, embeddings: np.ndarray, encoder: TextEncoder, prompts: str | PromptSet | Sequence
) -> pd.DataFrame:
    """Predictions of the same knees with other words for the grades.

    The image tower is not asked again: ``s = scale · e · g`` for embeddings e of each knee and its mirror image and
    vectors g of the grades, read by the model's link and, where the model does so, averaged over both views.

    Parameters
    ----------
    predictions
        Predictions table; columns other than similarities, probabilities and grades given are carried over as they
        are, and so are the index and the order.
    embeddings
        float32 ``(N, 2, D)``, row for row with it, as `predict` gives them.
    encoder
        Of the model that made both.
    prompts
        Prompt set, its name, or five texts.

    Raises
    ------
    KoaError
        If the embeddings do not fit, a logit is not finite, or the prompts are no set of five; see `PromptSet`.
    """
    check_predictions(predictions)
    vectors, embeddings = encoder.grades(prompts), np.asarray(embeddings)
    expected = (len(predictions), len(VIEWS), vectors.shape[1])
    if embeddings.shape != expected or embeddings.dtype.kind != "f":
        raise KoaError(
            f"Embeddings of shape {embeddings.shape}, {embeddings.dtype}, do not fit {len(predictions)} knees.",
            where="embeddings",
            remedy=f"Give float32 {expected} as predict returns them, of this model and row for row.",
        )
    if len(vectors) != len(GRADES):
        raise KoaError(f"Knees have five grades, these prompts tell {len(vectors)}.", where="prompts")
    logits = encoder.scale * (embeddings.astype(np.float32, copy=False).reshape(-1, vectors.shape[1]) @ vectors.T)
    if encoder.link == "continuation":
        logits = continuation_logits(torch.from_numpy(logits)).numpy()
    logits = logits.reshape(*expected[:2], len(GRADES))
    if not np.isfinite(logits).all():
        knee = predictions["knee_id"].iloc[int(np.argmin(np.isfinite(logits).all((1, 2))))]
        raise KoaError("A similarity is not finite.", where=f"embeddings, knee {knee}", remedy="Predict again.")
    if encoder.flip_pooling:
        logits = np.broadcast_to(logits.mean(1, keepdims=True), logits.shape)
    # grade after grade in memory: a softmax over five neighbours in memory is slow
    table = predictions_table(predictions, np.ascontiguousarray(logits.T).T)
    return predictions.assign(**{name: table[name].to_numpy() for name in ANSWERS})


class Playground:
    """A prompt set that is edited step by step, and what the model says of every knee at each step.

    Parameters
    ----------
    predictions, embeddings, encoder
        As for `reworded`, with the predictions made by the encoder's model.
    prompts
        Where to start; omitted, the model's own.

    Attributes
    ----------
    original, before
        The prompt set it starts from, and its predictions.

    Raises
    ------
    KoaError
        If the embeddings do not fit, or with the model's own words do not give the predictions.
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        embeddings: np.ndarray,
        encoder: TextEncoder,
        prompts: str | PromptSet | Sequence | None = None,
    ):
        own = reworded(predictions, embeddings, encoder, encoder.prompts)
        far = max(abs(probabilities(own, view) - probabilities(predictions, view)).max() for view in VIEWS)
        if far > FARTHEST:
            raise KoaError(
                f"With the model's own words a probability differs by {far:.2f} from the predictions.",
                where="predictions, embeddings and encoder",
                remedy="Give all three of one model and the same knees, row for row.",
            )
        self._predictions, self._embeddings, self.encoder = predictions, embeddings, encoder
        self.original = encoder.prompts if prompts is None else prompt_set(prompts)
        self.before = own if prompts is None else reworded(predictions, embeddings, encoder, self.original)
        self._steps, self._at = (self.original,), 0
        self._told = (self.original, self.before)

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
        if self._told[0] is not self.present:
            self._told = (self.present, reworded(self._predictions, self._embeddings, self.encoder, self.present))
        return self._told[1]

    def edit(self, grade: int, sentences: str | Sequence[str]) -> PromptSet:
        """The present prompt set after `grade` got these words; nothing changes when they are refused.

        Raises
        ------
        KoaError
            If there is no such grade, or a sentence is empty or too long.
        """
        texts = tuple(sentences) if isinstance(sentences, list | tuple) else (sentences,)
        prompts = self.present.with_grade(grade, *texts).prompts
        changed = [f"KL{k}" for k, words in enumerate(prompts) if words != self.original.prompts[k]]
        source = f"{self.original.source}; {' and '.join(changed)} reworded"
        named = replace(self.original, name=f"{self.original.name}*", source=source, prompts=prompts)
        return self._step(named if changed else self.original)

    def add_synonym(self, grade: int, text: str) -> PromptSet:
        """The present prompt set after one more sentence for `grade`; its vector is the mean over all of them.

        Raises
        ------
        KoaError
            As `edit`, or if the grade says this already: twice the same sentence would count twice.
        """
        texts = self.present.prompts[grade] if grade in range(len(self.present.prompts)) else ()
        if text in texts:
            raise KoaError(f"KL{grade} says this already.", where=repr(text), remedy="Add another sentence.")
        return self.edit(grade, (*texts, text))

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
