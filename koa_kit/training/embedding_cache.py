"""Image features of a locked tower, computed once for every knee and its mirror image, and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional

from koa_kit.cohort import Cohort
from koa_kit.engine.memory import release_pages, tune_memory
from koa_kit.model import ClipKoa
from koa_kit.model.crops import crop_rows, crop_shape
from koa_kit.model.weights import state_sha256
from koa_kit.paths import cache_dir, replacing

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


def resize_radiographs(
    images: np.ndarray, size: int, *, crop: str = "whole", device: str = "cpu", batch: int = 256
) -> Tensor:
    """uint8 tensor on `device`, ``(N, size, size)`` or lower where cropped: all radiographs as a tower sees them.

    Resampled bilinearly with antialiasing, once, rather than for every epoch. `crop` is one of
    `koa_kit.model.crops.CROPS`.
    """
    shape = crop_shape(size, crop)
    images = images[:, crop_rows(images.shape[1], crop)]
    if images.shape[1:] == shape:
        # a copy: torch warns of arrays that cannot be written, as those of a mapped file
        return torch.from_numpy(np.array(images)).to(device)
    small = torch.empty((len(images), *shape), dtype=torch.uint8)
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.array(images[start : start + batch])).float()[:, None]
        resized = functional.interpolate(pixels, shape, mode="bilinear", antialias=True, align_corners=False)
        small[start : start + batch] = resized[:, 0].round().clamp(0, 255).byte()
    release_pages(images)
    return small.to(device)


def embed_cohort(
    model: ClipKoa,
    cohort: Cohort,
    *,
    batch: int = 64,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Features float32 ``(N, 2, image_width)`` of every knee ([:, 0]) and of its mirror image ([:, 1]).

    Kept as ``.npy`` in the cache folder under a key of tower, weights, cohort and preprocessing; a second call maps
    the file. The file appears under its name only when complete; of several processes one computes, the others wait.

    Parameters
    ----------
    model
        Its image tower is used in evaluation mode.
    cohort
        Knees in any number; the rows' identity is part of the key.
    batch
        Knees a forward pass, each with its mirror image.
    cache
        Folder for caches; omitted: ``KOA_CACHE_DIR`` or the user's. ``False`` keeps nothing.
    progress
        Called with (done, total) knees.
    """
    if cache is False:
        return _embed(model, cohort, batch, progress)
    path = cache_dir(cache) / "features" / f"{_key(model, cohort)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # a second process with the same wish waits, and then reads
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                features = _embed(model, cohort, batch, progress)
                with replacing(path) as temporary:
                    np.save(temporary, features)
    return np.load(path, mmap_mode="r")


def _embed(model: ClipKoa, cohort: Cohort, batch: int, progress: Progress | None) -> np.ndarray:
    device = model.logit_scale.device
    if device.type == "cpu":
        tune_memory()
    images = resize_radiographs(cohort.images, model.towers.image_size, crop=model.towers.crop, device=device)
    features = np.empty((len(cohort), 2, model.towers.image_width), dtype=np.float32)
    training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(cohort), batch):
            views = images[start : start + batch]
            both = model.image_features(torch.cat([views, views.flip(-1)])).float().cpu().numpy()
            features[start : start + batch] = np.stack(np.split(both, 2), axis=1)
            if progress:
                progress(min(start + batch, len(cohort)), len(cohort))
    model.train(training)
    return features


def _key(model: ClipKoa, cohort: Cohort) -> str:
    towers = model.towers
    facts = {
        "tower": towers.name,
        "weights": towers.weights.get("image") if "image" in model.locked else None,
        "size": towers.image_size,
        "crop": towers.crop,
        "normalisation": [towers.mean, towers.std, towers.own_exposure],
        "resampling": "bilinear, antialiased, rounded to uint8",
        "cohort": cohort.fingerprint,
        "knees": hashlib.sha256("\n".join(cohort.table["file"]).encode()).hexdigest(),
        "precision": str(model.compute_dtype or next(model.image_tower.parameters()).dtype),
    }
    # a tower without published weights, or one that was trained, is known by its own state
    facts["weights"] = facts["weights"] or state_sha256(model.image_tower)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
