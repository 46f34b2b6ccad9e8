"""Each knee as it lies on the film and its mirror image, as features: cached ones, or from augmented images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from koa_kit.cohort import Cohort
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

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self.values.device

    def inputs(self, rows: Tensor, *, mirrored: Tensor | None = None, **_) -> Tensor:
        """Features ``(n, 2, image_width)`` of these rows and their mirror images; `mirrored` rows change places."""
        values = self.values[rows.to(self.device)]
        return values if mirrored is None else _swap(values, mirrored.to(self.device))

    def encode(self, inputs: Tensor, *, flip: bool = True) -> tuple[Tensor, Tensor | None]:
        """The two columns of `inputs`; the mirror images' only with `flip`."""
        return inputs[:, 0], inputs[:, 1] if flip else None

    def features(self, rows: Tensor, *, flip: bool = True) -> tuple[Tensor, Tensor | None]:
        """Features of these rows and, with `flip`, of their mirror images."""
        return self.encode(self.inputs(rows), flip=flip)


class ImageViews:
    """Views of knees for an image tower in training: uint8 images, augmented batch by batch where the model is.

    The whole cohort lies on the device if it takes less than half of what is free there, else in main memory.
    """

    def __init__(self, model: ClipKoa, cohort: Cohort, *, canonical_side: bool, **_):
        self.model = model
        (height, width), device = model.towers.image_shape, model.logit_scale.device
        fits = device.type != "cuda" or len(cohort) * height * width < torch.cuda.mem_get_info(device)[0] / 2
        self.images = resize_radiographs(cohort.images, width, crop=model.towers.crop, device=device if fits else "cpu")
        if canonical_side:
            left = left_knees(cohort).to(self.images.device)
            self.images = torch.where(left[:, None, None], self.images.flip(-1), self.images)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.images.device

    def inputs(
        self, rows: Tensor, *, mirrored: Tensor | None = None, changes: Tensor | None = None, strength: float = 0.0
    ) -> Tensor:
        """Images ``(n, height, width)`` of these rows where the model is, mirrored and augmented as asked."""
        images = self.images[rows.to(self.device)].to(self.model.logit_scale.device, non_blocking=True)
        if mirrored is not None:
            images = torch.where(mirrored.to(images.device)[:, None, None], images.flip(-1), images)
        return augment(images, changes, strength=strength)

    def encode(self, inputs: Tensor, *, flip: bool = True) -> tuple[Tensor, Tensor | None]:
        """Features of images and, with `flip`, of their mirror images, in one pass of the image tower."""
        if not flip:
            return self.model.image_features(inputs), None
        return self.model.image_features(torch.cat([inputs, inputs.flip(-1)])).chunk(2)

    def features(self, rows: Tensor, *, flip: bool = True) -> tuple[Tensor, Tensor | None]:
        """Features of these rows as they are and, with `flip`, of their mirror images."""
        return self.encode(self.inputs(rows), flip=flip)


def _swap(features: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None], features.flip(1), features)
