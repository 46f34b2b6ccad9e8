"""Other words for the grades, at once: the knees keep their embeddings, only the prompts are read anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from koa_kit.engine.modes import evaluating
from koa_kit.error_analysis.predictions import NUMBERS, VIEWS, check_predictions, predictions_table
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.model.clip_koa import ClipKoa, averaging, grade_vectors
from koa_kit.model.words import check_words
from koa_kit.prompts import PromptSet, prompt_set

ANSWERS = (*NUMBERS, *(f"pred{view}" for view in VIEWS))
"""Columns of a predictions table that follow from the words; all others belong to the knee."""


class PromptEncoder:
    """Unit vectors of sentences in the space of a model's embeddings, each sentence read once.

    It holds the model, which must have prompts, as it is now; after more training, make another.
    """

    def __init__(self, model: ClipKoa):
        if model.spec.head != "prompts":
            raise KoaError(
                "The model has a linear head: it reads no words, so other words change nothing.",
                where=f"head {model.spec.head!r}",
                remedy="Train with head='prompts'.",
            )
        self.model = model
        self._known: dict[str, np.ndarray] = {}
        self.prompts = model.spec.prompts

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 ``(P, D)``; only sentences never seen before pass through the text tower."""
        new = [text for text in dict.fromkeys(sentences) if text not in self._known]
        if new:
            with evaluating(self.model), torch.inference_mode():
                vectors = self.model.sentence_vectors(new).float().cpu().numpy()
            self._known |= dict(zip(new, vectors, strict=True))
        return np.stack([self._known[text] for text in sentences])

    def grades(self, prompts: str | PromptSet | Sequence) -> np.ndarray:
        """One unit vector a grade, float32 ``(5, D)``: what `ClipKoa.prompt_embeddings` gives for these prompts."""
        prompts = prompt_set(prompts)
        check_words(prompts, self.model.towers.tokenize)
        return grade_vectors(torch.from_numpy(self.embed(prompts.sentences)), averaging(prompts)).numpy()


def rescore(
    predictions: pd.DataFrame, embeddings: np.ndarray, encoder: PromptEncoder, prompts: str | PromptSet | Sequence
) -> pd.DataFrame:
    """Predictions of the same knees with other words for the grades; other columns, index and order stay.

    The image tower is not asked again: ``s = scale · e · g`` for embeddings e, float32 ``(N, 2, D)``, of each knee and
    its mirror image and vectors g of the grades, read by the model's link and, where the model does so, averaged over
    both views.
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
    model = encoder.model
    with torch.inference_mode():
        flat = torch.from_numpy(embeddings.astype(np.float32, copy=False).reshape(-1, vectors.shape[1]))
        logits = model.compare(flat.to(model.device), torch.from_numpy(vectors).to(model.device)).cpu().numpy()
    logits = logits.reshape(*expected[:2], len(GRADES))
    if not np.isfinite(logits).all():
        knee = predictions["knee_id"].iloc[int(np.argmin(np.isfinite(logits).all((1, 2))))]
        raise KoaError("A similarity is not finite.", where=f"embeddings, knee {knee}", remedy="Predict again.")
    if model.spec.flip_pooling:
        logits = np.broadcast_to(logits.mean(1, keepdims=True), logits.shape)
    # grade after grade in memory: a softmax over five neighbours in memory is slow
    table = predictions_table(predictions, np.ascontiguousarray(logits.T).T, rule=model.spec.rule)
    return predictions.assign(**{name: table[name].to_numpy() for name in ANSWERS})
