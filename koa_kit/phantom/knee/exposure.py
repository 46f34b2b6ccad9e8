"""How a knee was placed and filmed: everything in the radiograph that is neither person nor disease."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.ranges import Ranged, number

HARDWARE = ("none", "screw", "staple")


@dataclass(frozen=True)
class Exposure(Ranged):
    """How a knee was placed and exposed: everything in the image that is no sign of disease.

    Attributes
    ----------
    brightness, contrast
        Mean and standard deviation of the image's grey levels, 0 to 1, before very bright and very dark parts saturate.
    glow, burnt
        Extra brightness of the thigh, 0 to 1, large values burn the femur out; and how far the whole film is burnt
        out, 0 to 1: bone and flesh run together in white.
    blur
        Standard deviation of the blur in pixels of a 224-pixel image.
    noise, trabeculae
        Standard deviation of the grain, 0 to 1 grey scale, and how clearly the cancellous bone's texture shows, 0 to 1.
    tilt_deg, shift_x_mm, shift_y_mm, scale
        Rotation, offset (towards medial, downwards) and magnification of the knee in the crop.
    leg_width_mm, collimation_mm
        Width of the leg, a thin one lets black air into the crop; and how far the collimator's dark edge reaches into
        the crop on the medial side, 0 for not at all.
    beads, marker
        Whether a positioning frame's column of metal beads shows lateral to the knee, and a small lead marker in the
        upper lateral corner.
    hardware
        Metal left by surgery: "none", "screw" or "staple".

    A number out of its range or unknown hardware is a `KoaError`.
    """

    brightness: float = number(0.61, 0.1, 0.95)
    contrast: float = number(0.15, 0.02, 0.4)
    glow: float = number(0.2, 0, 1)
    burnt: float = number(0.0, 0, 1)
    blur: float = number(0.7, 0, 4)
    noise: float = number(0.012, 0, 0.1)
    trabeculae: float = number(0.5, 0, 1)
    tilt_deg: float = number(0.0, -15, 15)
    shift_x_mm: float = number(0.0, -15, 15)
    shift_y_mm: float = number(0.0, -15, 15)
    scale: float = number(1.0, 0.7, 1.4)
    leg_width_mm: float = number(118.0, 80, 200)
    collimation_mm: float = number(0.0, 0, 30)
    beads: bool = False
    marker: bool = False
    hardware: str = "none"

    def __post_init__(self):
        super().__post_init__()
        if self.hardware not in HARDWARE:
            raise KoaError(f"There is no hardware {self.hardware!r}.", remedy=f"Choose from {', '.join(HARDWARE)}.")


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """Placement and exposure as they vary among the crops of oai-kl224."""
    normal = rng.standard_normal

    def near(mean: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(mean + spread * normal(), low, high))

    light = normal()
    # Bright films are the steeper ones, a little.
    contrast = 0.136 * math.exp(0.11 * light + 0.42 * normal())
    return Exposure(
        brightness=float(np.clip(0.607 + 0.117 * light, 0.28, 0.88)),
        contrast=float(np.clip(contrast, 0.05, 0.32)),
        glow=float(rng.beta(1.3, 3.0)),
        burnt=float(rng.beta(2, 2)) if rng.random() < 0.08 else 0.0,
        blur=float(rng.uniform(0.5, 1.4)),
        noise=float(0.004 + 0.0101 * rng.random()),
        trabeculae=float(rng.beta(1.6, 2.2)),
        tilt_deg=near(0, 2.0, -5, 5),
        shift_x_mm=near(0, 2.0, -5, 5),
        shift_y_mm=near(0.6, 2.6, -6, 6),
        scale=near(1, 0.035, 0.9, 1.1),
        leg_width_mm=near(115, 11, 95, 150),
        collimation_mm=float(rng.uniform(1, 9)) if rng.random() < 0.06 else 0.0,
        beads=bool(rng.random() < 0.05),
        marker=bool(rng.random() < 0.03),
        hardware=str(rng.choice(HARDWARE[1:])) if rng.random() < 0.01 else "none",
    )


def sample_exposure_on_film(film: Exposure, rng: np.random.Generator) -> Exposure:
    """Exposure of another knee on the same film: that of `film`, with the knee's own placement and hardware."""
    own = sample_exposure(rng)
    placed = ("tilt_deg", "shift_x_mm", "shift_y_mm", "collimation_mm", "beads", "marker", "hardware")
    brightness = film.brightness + 0.03 * (own.brightness - film.brightness)
    return replace(film, brightness=brightness, **{name: getattr(own, name) for name in placed})
