"""What shows next to the bones: the frame's beads, a lead marker, a surgeon's metal."""

from __future__ import annotations

import numpy as np

from koa_kit.phantom.drawing.tissue import F
from koa_kit.phantom.knee.features import KneeFeatures

_OPAQUE = F(0.9)
"""Attenuation of metal: far beyond any bone's, so that it shows white."""


def add_metal(shadow: np.ndarray, features: KneeFeatures, x: np.ndarray, y: np.ndarray, rng: np.random.Generator):
    """Nothing; adds to `shadow`, at the pixels at `x` and `y` mm, the exposure's beads, marker and hardware."""
    exposure = features.exposure
    # Drawn whatever the exposure shows, so that no other detail of the knee hangs on the metal.
    place = rng.uniform(size=8)
    if exposure.beads:
        column, first = -45.5 + 2.5 * place[0], -56 + 21 * place[1]
        # Four beads 21 mm apart on a leaning line: the positioning frame's edge.
        for number in range(5):
            _dot(shadow, x, y, column + 0.35 * number * (place[2] - 0.5), first + 21 * number, 0.75)
    if exposure.marker:
        # A ring with a bar, the kit's own: no letter, which would betray the side.
        at_x, at_y = -41 + 3 * place[3], -48 + 4 * place[4]
        radius = np.sqrt((x - F(at_x)) ** 2 + (y - F(at_y)) ** 2)
        shadow += _OPAQUE * np.clip(F(1.1) - np.abs(radius - F(3.2)) * F(1.4), 0, 1)
        _bar(shadow, x, y, (at_x, at_y), (0.0, 1.0), 1.6, 0.6)
    if exposure.hardware == "screw":
        head, direction = np.array((-20 + 8 * place[5], 24 + 5 * place[6])), np.array((0.9, 0.25 - 0.5 * place[7]))
        along = direction / np.hypot(*direction)
        _bar(shadow, x, y, head + along * 22 / 2, direction, 11, 1.1)
        for step in range(22, 0, -2):
            _dot(shadow, x, y, *(head + along * step), 1.7)
        _bar(shadow, x, y, head, (-along[1], along[0]), 2.4, 1.2)
    elif exposure.hardware == "staple":
        centre = 22 + 8 * place[5], 22 + 6 * place[6]
        for across in (-4.0, 4.0):
            _bar(shadow, x, y, (centre[0] + across, centre[1] + 5), (0.0, 1.0), 6.0, 0.7)
        _bar(shadow, x, y, centre, (1.0, 0.0), 4.5, 0.8)


def _dot(shadow, x, y, at_x: float, at_y: float, radius: float) -> None:
    square = (x - F(at_x)) ** 2 + (y - F(at_y)) ** 2
    shadow += _OPAQUE * np.clip(F(1.5) - square * F(1 / radius**2), 0, 1)


def _bar(shadow, x, y, centre, direction, half: float, radius: float) -> None:
    """A rod of metal: `half` its half length, `direction` a vector of any length."""
    along_x, along_y = np.asarray(direction, float) / np.hypot(*direction)
    along = (x - F(centre[0])) * F(along_x) + (y - F(centre[1])) * F(along_y)
    across = (y - F(centre[1])) * F(along_x) - (x - F(centre[0])) * F(along_y)
    beyond = np.maximum(np.abs(along) - F(half), 0)
    inside = np.clip(F(radius + 0.3) - np.sqrt(across * across + beyond * beyond), 0, 0.6)
    shadow += _OPAQUE / F(0.6) * inside
