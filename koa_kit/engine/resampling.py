"""Images at another size, as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from koa_kit.engine.memory import release_pages


def resample(images: np.ndarray, shape: tuple[int, int], *, batch: int = 256) -> Tensor:
    """uint8 images ``(N, *shape)`` from uint8 ``(N, H, W)``, bilinearly with antialiasing; a copy at the same shape."""
    if tuple(images.shape[1:]) == shape:
        # torch warns of arrays that cannot be written, as those of a mapped file
        return torch.from_numpy(np.array(images))
    small = torch.empty((len(images), *shape), dtype=torch.uint8)
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.array(images[start : start + batch])).float()[:, None]
        resized = functional.interpolate(pixels, shape, mode="bilinear", antialias=True, align_corners=False)
        small[start : start + batch] = resized[:, 0].round().clamp(0, 255).byte()
    release_pages(images)
    return small
