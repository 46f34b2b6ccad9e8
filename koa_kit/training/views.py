"""Each knee as the model is shown it and its mirror image: as cached features, or as images that are augmented."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koa_kit.cohort import Cohort
from koa_kit.engine.array_cache import cached_array
from koa_kit.engine.memory import tune_memory
from koa_kit.engine.modes import evaluating
from koa_kit.engine.weights import state_sha256
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.training.augmentation import augment

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


def embed_cohort(
    model: ClipKoa,
    cohort: Cohort,
    *,
    batch: int = 64,
    cache: str | Path | bool | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Features float32 ``(N, 2, image_width)`` of every knee ([:, 0]) and of its mirror image ([:, 1]).

    Computed once for a tower, its weights, these knees and their preprocessing, and then read; see `cached_array`.

    The image tower is used in evaluation mode, on knees as they lie on the film whatever side the model is shown, with
    `batch` of them per forward pass. `cache` is a folder; omitted or ``True``: ``KOA_CACHE_DIR`` or the user's;
    ``False`` keeps nothing. `progress` is called with (done, total) knees.
    """

    def compute() -> np.ndarray:
        if model.device.type == "cpu":
            tune_memory()
        images = model.resampled(cohort.images).to(model.device)
        features = np.empty((len(cohort), 2, model.towers.image_width), dtype=np.float32)
        with evaluating(model), torch.inference_mode():
            for start in range(0, len(cohort), batch):
                views = images[start : start + batch]
                both = model.image_features(torch.cat([views, views.flip(-1)])).float().cpu().numpy()
                features[start : start + batch] = np.stack(np.split(both, 2), axis=1)
                if progress:
                    progress(min(start + batch, len(cohort)), len(cohort))
        return features

    if cache is False:
        return compute()
    published = model.towers.weights.get("image") if "image" in model.locked else None
    facts = {
        "tower": model.spec.towers,
        # a tower without published weights, or one that was trained, is known by its own state
        "weights": published or state_sha256(model.image_tower),
        "shape": model.spec.image_shape,
        "crop": model.spec.crop,
        "normalisation": [model.towers.mean, model.towers.std, model.spec.normalize],
        "resampling": "bilinear, antialiased, rounded to uint8",
        "cohort": cohort.fingerprint,
        "knees": hashlib.sha256("\n".join(cohort.table["file"]).encode()).hexdigest(),
        "precision": str(model.compute_dtype or next(model.image_tower.parameters()).dtype),
    }
    return cached_array(facts, compute, None if cache is True else cache)


class FeatureViews:
    """Views of knees for a locked image tower: features read from the embedding cache."""

    def __init__(self, model: ClipKoa, cohort: Cohort, *, cache=None, progress: Progress | None = None):
        features = torch.from_numpy(np.array(embed_cohort(model, cohort, cache=cache, progress=progress)))
        if model.spec.canonical_side:
            features = _swapped(features, torch.from_numpy((cohort.table["side"] == "L").to_numpy(copy=True)))
        self.values = features.to(model.device)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self.values.device

    def inputs(self, rows: Tensor, *, mirrored: Tensor | None = None, **_) -> Tensor:
        """Features ``(n, 2, image_width)`` of these rows and their mirror images; `mirrored` rows change places."""
        values = self.values[rows.to(self.device)]
        return values if mirrored is None else _swapped(values, mirrored.to(self.device))

    def encode(self, model: ClipKoa, inputs: Tensor, *, flip: bool = True) -> tuple[Tensor, Any]:
        """The two columns of `inputs`; the mirror images' only with `flip`. The model was asked before."""
        return inputs[:, 0], inputs[:, 1] if flip else None


class ImageViews:
    """Views of knees for an image tower in training: uint8 images, augmented batch by batch where the model is.

    The whole cohort lies on the device if it takes less than half of what is free there, else in main memory.
    """

    def __init__(self, model: ClipKoa, cohort: Cohort, **_):
        images = model.shown(model.resampled(cohort.images), cohort.table["side"])
        device = model.device
        fits = device.type != "cuda" or images.numel() < torch.cuda.mem_get_info(device)[0] / 2
        self.images, self.target = images.to(device) if fits else images, device

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
        images = self.images[rows.to(self.device)].to(self.target, non_blocking=True)
        if mirrored is not None:
            images = torch.where(mirrored.to(images.device)[:, None, None], images.flip(-1), images)
        return augment(images, changes, strength=strength)

    def encode(self, model: ClipKoa, inputs: Tensor, *, flip: bool = True) -> tuple[Tensor, Any]:
        """Features of images and, with `flip`, of their mirror images, in one pass of the image tower."""
        if not flip:
            return model.image_features(inputs), None
        features, mirrored = model.image_features(torch.cat([inputs, inputs.flip(-1)])).chunk(2)
        return features, mirrored


def views_of(model: ClipKoa, cohort: Cohort, *, progress: Progress | None = None) -> FeatureViews | ImageViews:
    """Cached features where the model's image tower is locked, else images."""
    return (FeatureViews if "image" in model.locked else ImageViews)(model, cohort, progress=progress)


def _swapped(features: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None], features.flip(1), features)
