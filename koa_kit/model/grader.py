"""From radiographs to grades: what a model is shown, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from koa_kit.engine.modes import evaluating
from koa_kit.engine.pixels import check_images, resample
from koa_kit.errors import KoaError
from koa_kit.grades import grade_by_rule
from koa_kit.losses import check_finite
from koa_kit.model.spec import ModelSpec, crop_rows


class Answers(NamedTuple):
    """What a model says of N knees: ``[:, 0]`` of each as it is shown, ``[:, 1]`` of its mirror image."""

    logits: np.ndarray  # float32 (N, 2, 5)
    embeddings: np.ndarray  # float32 (N, 2, D), unit vectors in the space of the prompts


class Grader(nn.Module):
    """Grades radiographs; a subclass says how images become features, and features embeddings and logits."""

    spec: ModelSpec
    image_features: Callable[..., Tensor]
    image_embeddings: Callable[..., Tensor]
    logits: Callable[..., tuple[Tensor, Any]]

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.parameters()).device

    def resampled(self, images: np.ndarray) -> Tensor:
        """uint8 ``(N, height, width)``: whole radiographs uint8 ``(N, H, W)`` as the image tower sees them.

        Cropped, resampled bilinearly with antialiasing and rounded; images of the tower's own shape stay as they are.
        """
        if images.ndim != 3:
            raise KoaError("Expected grey images (N, H, W).", where=f"shape {tuple(images.shape)}")
        whole = tuple(images.shape[1:]) != self.spec.image_shape
        rows = crop_rows(images.shape[1], self.spec.crop) if whole else slice(None)
        return resample(images[:, rows], self.spec.image_shape)

    def shown(self, images: Tensor, sides: Sequence[str]) -> Tensor:
        """Images ``(N, height, width)`` as the model is shown them: left knees mirrored if it has a canonical side."""
        if not self.spec.canonical_side:
            return images
        left = torch.tensor([side == "L" for side in sides], device=images.device)
        return torch.where(left[:, None, None], images.flip(-1), images)

    @torch.inference_mode()
    def answer_features(self, features: Tensor, features_flip: Tensor) -> Answers:
        """`Answers` from the features of some knees and of their mirror images."""
        logits = torch.stack(self.logits(features, features_flip), 1).float().cpu()
        vectors = torch.stack([self.image_embeddings(view) for view in (features, features_flip)], 1)
        return Answers(logits.numpy(), vectors.float().cpu().numpy())

    @torch.inference_mode()
    def answer(self, images: np.ndarray, sides: Sequence[str], *, batch: int = 64) -> Answers:
        """What the model says of radiographs and of their mirror images, in evaluation mode; see `predict`."""
        images = np.asarray(images)
        check_sides(sides, images.shape[0] if images.ndim else 0)
        check_images(images, self.spec.image_shape)
        with evaluating(self):
            seen = self.shown(self.resampled(images), sides)
            parts = [
                self.answer_features(*self.image_features(torch.cat([views, views.flip(-1)])).chunk(2))
                for views in seen.to(self.device).split(batch)
            ]
        answers = Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        check_finite(torch.from_numpy(answers.logits).flatten(1), "radiographs")
        return answers

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


def check_sides(sides: Sequence[str], images: int) -> None:
    """Raise `KoaError` unless these are the sides of so many images, "L" or "R" each."""
    if len(sides) != images or not all(side in ("L", "R") for side in sides):
        where = f"{images} images, sides {list(sides)[:5]}"
        raise KoaError('Give the side of each image, "L" or "R".', where=where, remedy='For example ["L", "R", "R"].')
