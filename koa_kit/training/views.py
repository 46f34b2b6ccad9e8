"""Each knee as it lies on the film and its mirror image, as features: cached ones, or from augmented images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from koa_kit.data.cohort import Cohort
from koa_kit.model import ClipKoa
from koa_kit.training.augmentation import augment
from koa_kit.training.embedding_cache import Progress, embed_cohort, resize_radiographs


def left_knees(cohort: Cohort) -> Tensor:
    """Boolean ``(N,)``: which knees are left ones."""
    return torch.from_numpy((cohort.table["side"] == "L").to_numpy(copy=True))


class FeatureViews:
    """Views of knees for a locked image tower: features read from the embedding cache.

    With `canonical_side` every left knee changes place with its mirror image, so that all look like right knees.
    """

    def __init__(
        self, model: ClipKoa, cohort: Cohort, *, canonical_side: bool, cache=None, progress: Progress | None = None
    ):
        features = torch.from_numpy(np.array(embed_cohort(model, cohort, cache=cache, progress=progress)))
        if canonical_side:
            features = _swap(features, left_knees(cohort))
        self.values = features.to(model.logit_scale.device)

    def __len__(self) -> int:
        return len(self.values)

    def features(self, rows: Tensor, *, mirrored: Tensor | None = None, flip: bool = True, **_):
        """Features of these rows and, with `flip`, of their mirror images; `mirrored` rows change places first."""
        values = self.values[rows.to(self.values.device)]
        if mirrored is not None:
            values = _swap(values, mirrored.to(values.device))
        return values[:, 0], values[:, 1] if flip else None


class ImageViews:
    """Views of knees for an image tower in training: images resident on the device, augmented batch by batch."""

    def __init__(self, model: ClipKoa, cohort: Cohort, *, canonical_side: bool, **_):
        self.model = model
        self.images = resize_radiographs(cohort.images, model.towers.image_size, device=model.logit_scale.device)
        if canonical_side:
            left = left_knees(cohort).to(self.images.device)
            self.images = torch.where(left[:, None, None], self.images.flip(-1), self.images)

    def __len__(self) -> int:
        return len(self.images)

    def features(
        self,
        rows: Tensor,
        *,
        mirrored: Tensor | None = None,
        flip: bool = True,
        strength: float = 0.0,
        generator: torch.Generator | None = None,
    ):
        """Features of these rows and, with `flip`, of their mirror images, in one pass of the image tower."""
        images = self.images[rows.to(self.images.device)]
        if mirrored is not None:
            images = torch.where(mirrored.to(images.device)[:, None, None], images.flip(-1), images)
        images = augment(images, strength=strength, generator=generator)
        if not flip:
            return self.model.image_features(images), None
        return self.model.image_features(torch.cat([images, images.flip(-1)])).chunk(2)


def _swap(features: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None], features.flip(1), features)
