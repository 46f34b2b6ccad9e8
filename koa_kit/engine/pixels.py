"""Grey images: what can be shown to a model, and at another size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from koa_kit.engine.memory import release_pages
from koa_kit.errors import KoaError

SMALLEST = 32
"""Pixels below which no joint space can be seen."""

FLATTEST = 16
"""Grey levels within which a picture shows nothing: pixels of 0 to 1 made whole numbers, or a blank film."""


def resample(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """uint8 images ``(N, *shape)`` from uint8 ``(N, H, W)``, bilinearly with antialiasing and rounded.

    As `torch.nn.functional.interpolate` with ``antialias``, but for pixels that lie half way between two grey levels.
    """
    if tuple(images.shape[1:]) == shape:
        return np.array(images)
    small = np.empty((len(images), *shape), dtype=np.uint8)
    for image, target in zip(images, small, strict=True):
        resized = Image.fromarray(image.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
        target[:] = np.clip(np.rint(np.asarray(resized)), 0, 255)
    release_pages(images)
    return small


def check_images(images: np.ndarray, tower_shape: tuple[int, int] | None = None) -> None:
    """Raise `KoaError` unless these are square radiographs uint8 ``(N, H, H)``, or images of a tower's own shape."""
    where = f"{images.dtype}, shape {images.shape}"
    if images.dtype != np.uint8:
        if images.size and np.issubdtype(images.dtype, np.number):
            where += f", {images.min():g} to {images.max():g}"
        remedy = "Read files with koa_kit.data.read_radiograph, which knows how to scale them."
        raise KoaError("Radiographs are whole grey levels of 8 bits, 0 to 255 (uint8).", where=where, remedy=remedy)
    if images.ndim != 3 or not len(images):
        raise KoaError("Expected grey images, one or more: (N, H, W).", where=where, remedy="One image is image[None].")
    height, width = images.shape[1:]
    if (height != width and (height, width) != tower_shape) or min(height, width) < SMALLEST:
        remedy = "Cut or pad the radiograph to a square around the joint; stretched, it would look like another knee."
        raise KoaError(f"Expected square radiographs of at least {SMALLEST} pixels.", where=where, remedy=remedy)
    blank = np.ptp(images, axis=(1, 2)) < FLATTEST
    if blank.any():
        what = f"{blank.sum()} of {len(images)} images show nothing: all their grey levels lie within {FLATTEST}."
        raise KoaError(what, where=f"image {blank.argmax()}", remedy="Scale pixels to 0 to 255, or leave it out.")
