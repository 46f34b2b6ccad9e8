"""Batch augmentation of radiographs: small changes of position and exposure that leave the grade as it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION, ZOOM, SHIFT, GAMMA, CONTRAST = 8.0, 0.08, 0.05, 0.25, 0.15
"""Largest changes at strength 1: degrees, share of scale, share of the side, log2 of gamma, share of contrast."""


def augment(images: Tensor, *, strength: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Float images ``(N, H, W)``, 0 to 255, each moved and re-exposed at random.

    A mirror image is not made here: a flip turns a left knee into a right one, which is the subject of the lesson and
    belongs to the training method.

    Parameters
    ----------
    images
        uint8 or float ``(N, H, W)``, 0 to 255.
    strength
        Factor on all changes; 0 gives the images back.
    generator
        Source of randomness, on the CPU, so that one seed gives one run on every device.
    """
    pixels = images.float()
    if strength == 0:
        return pixels
    count = len(pixels)
    draws = (2 * torch.rand(6, count, generator=generator) - 1) * strength
    angle, zoom, across, down, gamma, contrast = draws.to(pixels.device)
    angle, zoom = angle * math.radians(ROTATION), 1 + zoom * ZOOM
    theta = torch.zeros(count, 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = zoom * angle.cos(), -zoom * angle.sin(), 2 * SHIFT * across
    theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = zoom * angle.sin(), zoom * angle.cos(), 2 * SHIFT * down
    grid = functional.affine_grid(theta, [count, 1, *pixels.shape[1:]], align_corners=False)
    # reflection rather than black borders: a corner that turns black would tell the model how far it was turned
    moved = functional.grid_sample(pixels[:, None] / 255, grid, padding_mode="reflection", align_corners=False)[:, 0]
    exposed = moved.clamp(1e-4, 1) ** torch.exp2(gamma * GAMMA)[:, None, None]
    centre = exposed.mean((1, 2), keepdim=True)
    return ((exposed - centre) * (1 + contrast * CONTRAST)[:, None, None] + centre).clamp(0, 1) * 255
