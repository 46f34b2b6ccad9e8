"""From radiographs to grades: what a model is shown, and what it says, whatever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from koa_kit.engine.pixels import check_images
from koa_kit.errors import KoaError
from koa_kit.grades import grade_by_rule
from koa_kit.model.spec import ModelSpec, crop_rows


class Answers(NamedTuple):
    """What a model says of N knees: ``[:, 0]`` of each as it is shown, ``[:, 1]`` of its mirror image."""

    logits: np.ndarray  # float32 (N, 2, 5)
    embeddings: np.ndarray  # float32 (N, 2, D), unit vectors in the space of the prompts


class Grader:
    """Grades radiographs; a subclass says how checked ones become answers."""

    spec: ModelSpec

    def answer(self, images: np.ndarray, sides: Sequence[str], *, batch: int = 64) -> Answers:
        """What the model says of radiographs and of their mirror images; see `predict`."""
        images = np.asarray(images)
        check_sides(sides, images.shape[0] if images.ndim else 0)
        check_images(images, self.spec.image_shape)
        answers = self._answers(images, sides, batch)
        check_finite(answers.logits, "radiographs")
        return answers

    def _answers(self, images: np.ndarray, sides: Sequence[str], batch: int) -> Answers:
        raise NotImplementedError

    def seen(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``(N, height, width)``: whole radiographs uint8 ``(N, H, W)`` as the image tower sees them."""
        raise NotImplementedError

    def cropped(self, images: np.ndarray) -> np.ndarray:
        """The rows of whole radiographs ``(N, H, W)`` that are shown; images of the tower's own shape stay whole."""
        if images.ndim != 3:
            raise KoaError("Expected grey images (N, H, W).", where=f"shape {tuple(images.shape)}")
        whole = tuple(images.shape[1:]) != self.spec.image_shape
        return images[:, crop_rows(images.shape[1], self.spec.crop) if whole else slice(None)]

    def predict(self, images: np.ndarray, sides: Sequence[str], *, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Grades int64 ``(N,)`` by the model's own rule, and probabilities float32 ``(N, 5)``.

        Parameters
        ----------
        images
            uint8 ``(N, H, W)``: whole radiographs, bone bright, or images of the tower's own shape.
        sides
            "R" or "L" of each; a model with a canonical side is shown every left knee mirrored.
        batch
            Knees per forward pass, each with its mirror image.

        Raises
        ------
        KoaError
            If the images are not grey ones of 0 to 255, square or of the tower's shape, one of them shows nothing, a
            side is missing or unknown, or a logit is not finite.
        """
        probabilities = softmax(self.answer(images, sides, batch=batch).logits[:, 0], axis=1)
        return grade_by_rule(probabilities, self.spec.rule), probabilities


def check_finite(logits: np.ndarray, where: str) -> None:
    """Raise `KoaError` if logits ``(N, …)`` of some knees are no numbers."""
    if bad := (~np.isfinite(logits)).reshape(len(logits), -1).any(-1).sum():
        raise KoaError(
            f"The logits of {bad} of {len(logits)} knees are not finite.",
            where=where,
            remedy="Lower the learning rate, or look for images or prompts that a tower cannot take.",
        )


def check_sides(sides: Sequence[str], images: int) -> None:
    """Raise `KoaError` unless these are the sides of so many images, "L" or "R" each."""
    if len(sides) != images or not all(side in ("L", "R") for side in sides):
        where = f"{images} images, sides {list(sides)[:5]}"
        raise KoaError('Give the side of each image, "L" or "R".', where=where, remedy='For example ["L", "R", "R"].')
