"""A grader that torch computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from koa_kit.engine.modes import evaluating
from koa_kit.engine.resampling import resample
from koa_kit.model.grader import Answers, Grader


class TorchGrader(Grader, nn.Module):
    """Grades radiographs; a subclass says how images become features, and features embeddings and logits."""

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
        return resample(self.cropped(images), self.spec.image_shape)

    def seen(self, images: np.ndarray) -> np.ndarray:
        """`resampled` as an array."""
        return self.resampled(images).numpy()

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
    def _answers(self, images: np.ndarray, sides: Sequence[str], batch: int) -> Answers:
        with evaluating(self):
            seen = self.shown(self.resampled(images), sides)
            parts = [
                self.answer_features(*self.image_features(torch.cat([views, views.flip(-1)])).chunk(2))
                for views in seen.to(self.device).split(batch)
            ]
        return Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))
