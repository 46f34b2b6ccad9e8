"""How a knee is built, placed and filmed, whatever its disease; every number declares the range it must lie in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np

from koa_kit.errors import KoaError

HARDWARE = ("none", "screw", "staple")
ALIKE = 0.8
"""Correlation of what differs among people in a person's two knees."""


def number(default: float, low: float, high: float, **further):
    """Field of a dataclass from `Ranged`: a number from `low` to `high`; `further` is kept as metadata."""
    return field(default=default, metadata={"range": (low, high), **further})


@dataclass(frozen=True)
class Ranged:
    """Base of dataclasses that refuse, with a `KoaError` that names the field, a `number` outside its range."""

    def __post_init__(self):
        for name, (low, high) in self.ranges().items():
            if not low <= getattr(self, name) <= high:
                raise KoaError(f"{name} is {getattr(self, name)}.", remedy=f"Give a number from {low} to {high}.")

    @classmethod
    def ranges(cls) -> dict[str, tuple[float, float]]:
        """Least and greatest value of each `number`, by name."""
        return {entry.name: entry.metadata["range"] for entry in fields(cls) if "range" in entry.metadata}


@dataclass(frozen=True)
class Build(Ranged):
    """Shape of the bones of one knee; the defaults are the average adult.

    Attributes
    ----------
    bone_width
        Width of femur and tibia against the average of 76 mm, 0.8 to 1.2.
    femur_flare, condyle_round
        How steeply the femur narrows above the condyles, 0 hardly to 1 waisted, and the roundness of their lower
        surface, 0 flat to 1 round.
    notch_mm, spine_medial_mm, spine_lateral_mm, plateau_dip_mm
        Depth of the notch between the condyles, 7 to 18 mm, height of the tibial spines, 3 to 13 mm, and depth of the
        hollow of the medial plateau, 0 to 3 mm.
    slope_deg
        Tilt of the joint line against the femur's, -4 to 4 degrees.
    rim_mm, veil_mm
        The beam's tilt: how far the plateau's far rim shows below the near one, 0 to 6 mm, and how far the near rim
        rises into the joint space and veils it, 0 to 3 mm.
    popliteal_groove, growth_line
        Dent of the lateral condyle's flank, and how clearly the growth plates of the child still show, 0 to 1.
    fibula_x_mm, fibula_y_mm, fibula_mm
        Middle of the fibular head from the knee's middle, -50 to -28 and 18 to 45 mm, and its half width, 5 to 13 mm.
    patella_x_mm, patella_y_mm, patella_mm, patella_clear
        Middle of the kneecap, -15 to 15 and -60 to -15 mm, its radius, 12 to 26 mm, and how clearly it shows, 0 to 1.

    A number out of its range is a `KoaError`.
    """

    # The spread is the standard deviation among people; their mean is the default unless it is given.
    bone_width: float = number(1.0, 0.8, 1.2, spread=0.05)
    femur_flare: float = number(0.4, 0, 1, spread=0.25)
    condyle_round: float = number(0.5, 0, 1, spread=0.25)
    notch_mm: float = number(12.6, 7, 18, spread=1.6)
    spine_medial_mm: float = number(9.0, 3, 13, spread=1.3)
    spine_lateral_mm: float = number(7.0, 3, 13, spread=1.3)
    plateau_dip_mm: float = number(1.2, 0, 3, spread=0.5)
    slope_deg: float = number(0.0, -4, 4, spread=1.5)
    rim_mm: float = number(3.0, 0, 6, spread=1.5, mean=2.4)
    veil_mm: float = number(0.3, 0, 3, spread=0.7)
    popliteal_groove: float = number(0.5, 0, 1, spread=0.3)
    fibula_x_mm: float = number(-36.0, -50, -28, spread=2.6)
    fibula_y_mm: float = number(32.0, 18, 45, spread=4.0)
    fibula_mm: float = number(9.0, 5, 13, spread=1.0)
    patella_x_mm: float = number(-2.0, -15, 15, spread=3.5)
    patella_y_mm: float = number(-38.0, -60, -15, spread=5.5)
    patella_mm: float = number(19.0, 12, 26, spread=1.8)
    patella_clear: float = number(0.4, 0, 1, spread=0.28)
    growth_line: float = number(0.5, 0, 1, spread=0.3)


def like_the_other(own, other, mean: float):
    """Value of a second knee, correlated by `ALIKE` with the `other` knee's, from one drawn for it alone, `own`."""
    return mean + ALIKE * (other - mean) + (1 - ALIKE**2) ** 0.5 * (own - mean)


def sample_build(rng: np.random.Generator, *, other_knee: Build | None = None) -> Build:
    """A person's build; with `other_knee`, that of the second knee of a person whose first knee is built so."""
    drawn = {}
    for entry in fields(Build):
        spread, mean = entry.metadata["spread"], entry.metadata.get("mean", entry.default)
        value = mean + spread * rng.standard_normal()
        if other_knee is not None:
            value = like_the_other(value, getattr(other_knee, entry.name), mean)
        drawn[entry.name] = round(float(np.clip(value, *entry.metadata["range"])), 3)
    return Build(**drawn)


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
