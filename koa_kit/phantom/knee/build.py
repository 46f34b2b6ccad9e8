"""How a person's knee is built, whatever its disease: the size and shape of the bones."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from koa_kit.phantom.knee.ranges import Ranged, number

ALIKE = 0.8
"""Correlation of the build of a person's two knees."""


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


def sample_build(rng: np.random.Generator, *, other_knee: Build | None = None) -> Build:
    """A person's build; with `other_knee`, that of the second knee of a person whose first knee is built so."""
    drawn = {}
    for entry in fields(Build):
        spread, mean = entry.metadata["spread"], entry.metadata.get("mean", entry.default)
        value = mean + spread * rng.standard_normal()
        if other_knee is not None:
            value = mean + ALIKE * (getattr(other_knee, entry.name) - mean) + (1 - ALIKE**2) ** 0.5 * (value - mean)
        drawn[entry.name] = round(float(np.clip(value, *entry.metadata["range"])), 3)
    return Build(**drawn)
