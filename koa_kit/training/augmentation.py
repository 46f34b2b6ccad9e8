"""Batch augmentation of radiographs: small changes of position and exposure that leave the grade as it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION, ZOOM, SHIFT, GAMMA, CONTRAST = 8.0, 0.08, 0.05, 0.25, 0.15
"""Largest changes at strength 1: degrees, share of scale, share of the side, log2 of gamma, share of contrast."""


def draw_changes(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Random changes for `count` knees, float32 ``(6, count)`` on the CPU, each uniform in -1 to 1.

    Rows: rotation, zoom, shift across, shift down, gamma, contrast. Drawn on the CPU, so that one seed gives one run
    on every device, and apart from the images, so that a whole epoch is drawn at once.
    """
    return 2 * torch.rand(6, count, generator=generator) - 1


def augment(
    images: Tensor, changes: Tensor | None = None, *, strength: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Float images ``(N, H, W)``, 0 to 255, each moved and re-exposed.

    A mirror image is not made here: a flip turns a left knee into a right one, which is the subject of the lesson and
    belongs to the training method.

    Parameters
    ----------
    images
        uint8 or float ``(N, H, W)``, 0 to 255.
    changes
        From `draw_changes`, on any device; omitted, they are drawn from `generator`.
    strength
        Factor on all changes; 0 gives the images back.
    generator
        Source of randomness where no `changes` are given.
    """
    pixels = images.float()
    if strength == 0:
        return pixels
    count = len(pixels)
    changes = draw_changes(count, generator) if changes is None else changes
    angle, zoom, across, down, gamma, contrast = (changes * strength).to(pixels.device, non_blocking=True)
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
