"""How a person's knee is built, whatever its disease: the size and shape of the bones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from koa_kit.errors import KoaError


def require_within(record: object, limits: Mapping[str, tuple[float, float]]) -> None:
    """Nothing; raises `KoaError` naming the first attribute of `record` that is outside its limits."""
    for name, (low, high) in limits.items():
        if not low <= getattr(record, name) <= high:
            raise KoaError(f"{name} is {getattr(record, name)}.", remedy=f"Give a number from {low} to {high}.")


@dataclass(frozen=True)
class Build:
    """Shape of the bones of one knee; the defaults are the average adult.

    Attributes
    ----------
    bone_width
        Width of femur and tibia against the average of 76 mm, 0.8 to 1.2.
    femur_flare
        How steeply the femur narrows above the condyles, 0 hardly to 1 waisted.
    condyle_round
        Roundness of the condyles' lower surface, 0 flat to 1 round.
    notch_mm
        Depth of the notch between the condyles, 7 to 18 mm.
    spine_medial_mm, spine_lateral_mm
        Height of the tibial spines, 3 to 13 mm.
    plateau_dip_mm
        Depth of the hollow of the medial plateau, 0 to 3 mm.
    slope_deg
        Tilt of the joint line against the femur's, -4 to 4 degrees.
    rim_mm
        How far the plateau's far rim shows below the near one: tilt of the beam, 0 to 6 mm.
    veil_mm
        How far the near rim rises into the joint space and veils it, 0 to 3 mm: the beam's tilt as well.
    popliteal_groove
        Dent of the lateral condyle's flank, 0 to 1.
    fibula_x_mm, fibula_y_mm, fibula_mm
        Middle of the fibular head from the knee's middle, -50 to -28 and 18 to 45 mm, and its half width, 5 to 13 mm.
    patella_x_mm, patella_y_mm, patella_mm, patella_clear
        Middle of the kneecap, -15 to 15 and -60 to -15 mm, its radius, 12 to 26 mm, and how clearly it shows, 0 to 1.
    growth_line
        How clearly the growth plates of the child still show, 0 to 1.

    Raises
    ------
    KoaError
        When a number is out of its range.
    """

    bone_width: float = 1.0
    femur_flare: float = 0.4
    condyle_round: float = 0.5
    notch_mm: float = 12.6
    spine_medial_mm: float = 9.0
    spine_lateral_mm: float = 7.0
    plateau_dip_mm: float = 1.2
    slope_deg: float = 0.0
    rim_mm: float = 3.0
    veil_mm: float = 0.3
    popliteal_groove: float = 0.5
    fibula_x_mm: float = -36.0
    fibula_y_mm: float = 32.0
    fibula_mm: float = 9.0
    patella_x_mm: float = -2.0
    patella_y_mm: float = -38.0
    patella_mm: float = 19.0
    patella_clear: float = 0.4
    growth_line: float = 0.5

    def __post_init__(self):
        require_within(self, LIMITS)


LIMITS = {
    "bone_width": (0.8, 1.2),
    "femur_flare": (0, 1),
    "condyle_round": (0, 1),
    "notch_mm": (7, 18),
    "spine_medial_mm": (3, 13),
    "spine_lateral_mm": (3, 13),
    "plateau_dip_mm": (0, 3),
    "slope_deg": (-4, 4),
    "rim_mm": (0, 6),
    "veil_mm": (0, 3),
    "popliteal_groove": (0, 1),
    "fibula_x_mm": (-50, -28),
    "fibula_y_mm": (18, 45),
    "fibula_mm": (5, 13),
    "patella_x_mm": (-15, 15),
    "patella_y_mm": (-60, -15),
    "patella_mm": (12, 26),
    "patella_clear": (0, 1),
    "growth_line": (0, 1),
}
"""Least and greatest value of each field of `Build`."""

# Mean and standard deviation among people.
_AMONG_PEOPLE = {
    "bone_width": (1.0, 0.05),
    "femur_flare": (0.4, 0.25),
    "condyle_round": (0.5, 0.25),
    "notch_mm": (12.6, 1.6),
    "spine_medial_mm": (9.0, 1.3),
    "spine_lateral_mm": (7.0, 1.3),
    "plateau_dip_mm": (1.2, 0.5),
    "slope_deg": (0.0, 1.5),
    "rim_mm": (2.4, 1.5),
    "veil_mm": (0.3, 0.7),
    "popliteal_groove": (0.5, 0.3),
    "fibula_x_mm": (-36.0, 2.6),
    "fibula_y_mm": (32.0, 4.0),
    "fibula_mm": (9.0, 1.0),
    "patella_x_mm": (-2.0, 3.5),
    "patella_y_mm": (-38.0, 5.5),
    "patella_mm": (19.0, 1.8),
    "patella_clear": (0.4, 0.28),
    "growth_line": (0.5, 0.3),
}

ALIKE = 0.8
"""Correlation of the build of a person's two knees."""


def sample_build(rng: np.random.Generator, *, beside: Build | None = None) -> Build:
    """A person's build; with `beside`, that of the other knee of a person whose one knee is built like this."""
    drawn = {}
    for name, (mean, spread) in _AMONG_PEOPLE.items():
        value = mean + spread * rng.standard_normal()
        if beside is not None:
            value = mean + ALIKE * (getattr(beside, name) - mean) + (1 - ALIKE**2) ** 0.5 * (value - mean)
        drawn[name] = round(float(np.clip(value, *LIMITS[name])), 3)
    return Build(**drawn)
