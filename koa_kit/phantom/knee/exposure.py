"""How a knee was placed and filmed: everything in the picture that is neither person nor disease."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.build import require_within

HARDWARE = ("none", "screw", "staple")


@dataclass(frozen=True)
class Exposure:
    """How a knee was placed and exposed: everything in the image that is no sign of disease.

    Attributes
    ----------
    brightness, contrast
        Mean and standard deviation of the image's grey levels, 0 to 1, before very bright and very dark parts saturate.
    glow
        Extra brightness of the thigh, 0 to 1; large values burn the femur out.
    burnt
        How far the whole film is burnt out, 0 to 1: bone and flesh run together in white.
    blur
        Standard deviation of the blur in pixels of a 224-pixel image.
    noise
        Standard deviation of the grain, 0 to 1 grey scale.
    trabeculae
        How clearly the cancellous bone's texture shows, 0 to 1.
    tilt_deg, shift_x_mm, shift_y_mm, scale
        Rotation, offset (towards medial, downwards) and magnification of the knee in the crop.
    leg_width_mm
        Width of the leg; a thin one lets black air into the crop.
    collimation_mm
        How far the collimator's dark edge reaches into the crop on the medial side, 0 for not at all.
    beads
        Whether the column of metal beads of a positioning frame shows lateral to the knee.
    marker
        Whether a small lead marker lies in the upper lateral corner.
    hardware
        Metal left by surgery: "none", "screw" or "staple".

    Raises
    ------
    KoaError
        When a number is out of its range, or the hardware unknown.
    """

    brightness: float = 0.61
    contrast: float = 0.15
    glow: float = 0.2
    burnt: float = 0.0
    blur: float = 0.7
    noise: float = 0.012
    trabeculae: float = 0.5
    tilt_deg: float = 0.0
    shift_x_mm: float = 0.0
    shift_y_mm: float = 0.0
    scale: float = 1.0
    leg_width_mm: float = 118.0
    collimation_mm: float = 0.0
    beads: bool = False
    marker: bool = False
    hardware: str = "none"

    def __post_init__(self):
        require_within(self, LIMITS)
        if self.hardware not in HARDWARE:
            raise KoaError(f"There is no hardware {self.hardware!r}.", remedy=f"Choose from {', '.join(HARDWARE)}.")


LIMITS = {
    "brightness": (0.1, 0.95),
    "contrast": (0.02, 0.4),
    "glow": (0, 1),
    "burnt": (0, 1),
    "blur": (0, 4),
    "noise": (0, 0.1),
    "trabeculae": (0, 1),
    "tilt_deg": (-15, 15),
    "shift_x_mm": (-15, 15),
    "shift_y_mm": (-15, 15),
    "scale": (0.7, 1.4),
    "leg_width_mm": (80, 200),
    "collimation_mm": (0, 30),
}
"""Least and greatest value of each number of `Exposure`."""


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


def beside(film: Exposure, rng: np.random.Generator) -> Exposure:
    """Exposure of the other knee on the same `film`: the film's, with that knee's own placement and hardware."""
    own = asdict(sample_exposure(rng))
    placed = ("tilt_deg", "shift_x_mm", "shift_y_mm", "collimation_mm", "beads", "marker", "hardware")
    brightness = film.brightness + 0.03 * (own["brightness"] - film.brightness)
    return replace(film, brightness=brightness, **{name: own[name] for name in placed})
