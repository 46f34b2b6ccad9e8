"""The bones' outlines as curves in millimetres, bent by the signs of disease.

Frame of a right knee seen from the front, as in the radiograph: x grows towards medial (to the right in the image), y
downwards, the origin lies between the tibial spines at the height of the joint line. A left knee is the mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from koa_kit.data.phantom.features import KneeFeatures

REACH_MM, STEP_MM = 84.0, 0.15
AXIS_MM = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
"""Positions at which every curve is known."""

COMPARTMENT_MM = 25.0
"""Distance of the middle of either compartment from the knee's middle; the joint space width is measured there."""

# Corner points in mm, read off the mean right knee of oai-kl224; from lateral (or above) to medial (or below).
_PLATEAU = (
    (-60, -38, -25, -15, -10, -6.5, -3, 0, 3, 6, 10, 15, 25, 33, 38, 60),
    (6.0, 5.2, 4.2, 3.2, 0.5, -3.6, -2.6, -1.6, -3.0, -5.6, 0.5, 3.4, 4.4, 3.9, 3.4, 4.0),
)
_CONDYLES = (
    (-60, -38, -31, -25, -19, -13, -8, -4, 0.5, 5, 9, 14, 19, 25, 31, 38, 60),
    (-2.5, -2.2, -0.4, 0, -1.0, -4.0, -8.0, -11.0, -12.6, -11.6, -8.2, -4.2, -1.2, 0, -0.3, -2.0, -2.5),
)
_FEMUR_LATERAL = ((-90, -57, -46, -36, -28, -20, -12, -4, 10), (25, 29, 36, 40.2, 40.2, 37.3, 37.6, 37.6, 37))
_FEMUR_MEDIAL = ((-90, -57, -48, -40, -33, -24, -14, -4, 10), (25, 31, 38, 41.8, 41.8, 39.4, 39.0, 38.4, 37))
_TIBIA_LATERAL = ((-20, 4, 12, 20, 30, 39, 60), (38, 38, 38, 37.2, 32.5, 26, 19))
_TIBIA_MEDIAL = ((-20, 4, 12, 20, 30, 39, 60), (37.6, 37.6, 37.0, 34.6, 30.5, 26.5, 22))


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Outlines of one right knee: curves over `AXIS_MM`, and the numbers the drawing needs beside them.

    Attributes
    ----------
    plateau, condyles
        Height y of the tibia's upper and the femur's lower surface at every x, in mm.
    femur_sides, tibia_sides
        Lateral and medial outline: distance from the middle, positive outwards, at every y, in mm.
    femur_corners, tibia_corners
        Radius in mm of the lateral and the medial corner; an osteophyte sharpens it.
    fibula
        Centre x, y and half width of the fibular head in mm.
    patella
        Centre x, y, radius in mm and how clearly it shows, 0 to 1.
    notch_wall_mm
        x of the medial condyle's inner wall, a faint upright line.
    leg_centre_mm
        x of the middle of the leg's soft tissue.
    """

    plateau: np.ndarray
    condyles: np.ndarray
    femur_sides: tuple[np.ndarray, np.ndarray]
    tibia_sides: tuple[np.ndarray, np.ndarray]
    femur_corners: tuple[float, float]
    tibia_corners: tuple[float, float]
    fibula: tuple[float, float, float]
    patella: tuple[float, float, float, float]
    notch_wall_mm: float
    leg_centre_mm: float

    def height(self, curve: str, x: float) -> float:
        """Value of the named curve, ``plateau`` or ``condyles``, at `x`."""
        return float(np.interp(x, AXIS_MM, getattr(self, curve)))


def build_anatomy(features: KneeFeatures, rng: np.random.Generator) -> Anatomy:
    """Outlines of a knee with these signs; `rng` gives the person's own build, the signs bend it.

    The gap between `condyles` and `plateau` at ``x = +-COMPARTMENT_MM`` is the joint space width of the features, so
    narrowing on one side alone tips the femur over as in a bow leg.
    """
    normal = rng.standard_normal
    width = 1 + 0.03 * normal()
    spines, notch, slope = 1 + 0.15 * normal(), 1 + 0.1 * normal(), 0.018 * normal()
    pace, phase = 1 + 0.3 * normal(2), rng.uniform(0, 2 * np.pi, 2)
    ripple = np.sin(AXIS_MM * 0.42 * pace[0] + phase[0]) + 0.6 * np.sin(AXIS_MM * 0.8 * pace[1] + phase[1])
    shares = 1 - features.medial_share, features.medial_share

    plateau = _curve(_PLATEAU, width, smooth=0.75)
    middle = np.exp(-((AXIS_MM / 9) ** 2))
    plateau = plateau + (plateau - 3.5) * (spines - 1) * middle + slope * AXIS_MM
    condyles = _curve(_CONDYLES, width, smooth=1.6) * (1 + (notch - 1) * middle)

    side = (AXIS_MM < 0, AXIS_MM >= 0)
    for of_side, share in zip(side, shares, strict=True):
        worn = np.where(of_side, share * features.deformity, 0.0)
        ramp = np.clip((np.abs(AXIS_MM) - 9) / 14, 0, 1)
        plateau = plateau + worn * ramp * (1.1 + 0.02 * (np.abs(AXIS_MM) - COMPARTMENT_MM) + 0.14 * ripple)
        # A worn condyle is flat: it meets the plateau over a broad front instead of at one point.
        condyles = condyles + worn * ramp * 0.12 * (np.clip(-condyles, 0, 2.5) + ripple)

    sizes = dict(zip(("fm", "tm", "fl", "tl"), features.osteophytes, strict=True))
    for of_side, where in zip(side, "lm", strict=True):
        edge = np.where(of_side, np.clip((np.abs(AXIS_MM) - 33) / 6, 0, 1.3) ** 1.5, 0.0)
        plateau = plateau - 0.42 * sizes["t" + where] * edge
        condyles = condyles + 0.42 * sizes["f" + where] * edge
    condyles = condyles + _femur_offset(condyles, plateau, features)

    # Advanced wear lets the tibia slip outwards under the femur.
    slip = 1.1 * features.deformity * (shares[1] - shares[0])
    joint = {"l": _at(plateau, -37 * width), "m": _at(plateau, 37 * width)}
    femur, tibia = [], []
    for number, where in enumerate("lm"):
        outline = _curve((_FEMUR_LATERAL, _FEMUR_MEDIAL)[number], 1.0, smooth=1.5) * width
        outline = outline + _uneven(rng, 0.45)
        lip_y = _at(condyles, (-37, 37)[number] * width)
        femur.append(_with_spur(outline, sizes["f" + where], lip_y, upwards=True))
        outline = _curve((_TIBIA_LATERAL, _TIBIA_MEDIAL)[number], 1.0, smooth=1.5) * width
        outline = outline + _uneven(rng, 0.35) + (slip, -slip)[number]
        tibia.append(_with_spur(outline, sizes["t" + where], joint[where], upwards=False))

    return Anatomy(
        plateau=plateau,
        condyles=condyles,
        femur_sides=tuple(femur),
        tibia_sides=tuple(tibia),
        femur_corners=tuple(6.5 / (1 + 1.3 * sizes["f" + where]) for where in "lm"),
        tibia_corners=tuple(3.2 / (1 + 1.3 * sizes["t" + where]) for where in "lm"),
        fibula=(-40.5 * width + 2.8 * normal(), 31 + 3.5 * normal(), 8.8 + 0.9 * normal()),
        patella=(-3 + 3 * normal(), -35 + 4 * normal(), 19 + 1.5 * normal(), float(rng.beta(2, 2))),
        notch_wall_mm=13 + 1.2 * normal(),
        leg_centre_mm=1.5 * normal() - 2.0,
    )


def landmarks(anatomy: Anatomy) -> dict[str, tuple[float, float]]:
    """Places a reader looks at, name to (x, y) in mm in the right knee's frame.

    `drawing.landmark_pixels` gives them in pixels of the drawn image.
    """
    gap = {
        side: (x, (anatomy.height("plateau", x) + anatomy.height("condyles", x)) / 2)
        for side, x in (("medial", COMPARTMENT_MM), ("lateral", -COMPARTMENT_MM))
    }
    corners = {}
    for side, sign, number in (("lateral", -1, 0), ("medial", 1, 1)):
        for bone, curve, outlines, into in (
            ("femur", "condyles", anatomy.femur_sides, -1.5),
            ("tibia", "plateau", anatomy.tibia_sides, 1.5),
        ):
            y = anatomy.height(curve, sign * 37)
            corners[f"{side}_{bone}_margin"] = (sign * (_at(outlines[number], y + into) - 0.5), y + into)
    return {
        "femur": (0.0, -30.0),
        "tibia": (0.0, 25.0),
        "fibula": anatomy.fibula[:2],
        "medial_joint_space": gap["medial"],
        "lateral_joint_space": gap["lateral"],
        "tibial_spines": (6.0, anatomy.height("plateau", 6.0) + 1.0),
        "notch": (0.5, anatomy.height("condyles", 0.5)),
        **corners,
    }


def _curve(points, stretch: float, *, smooth: float) -> np.ndarray:
    """Rounded polyline through `points` over `AXIS_MM`; `smooth` is the rounding's standard deviation in mm."""
    along, values = points
    line = np.interp(AXIS_MM, np.asarray(along, float) * stretch, np.asarray(values, float))
    return gaussian_filter1d(line, smooth / STEP_MM, mode="nearest", truncate=3)


def _uneven(rng: np.random.Generator, size_mm: float) -> np.ndarray:
    """Slow waves along an outline: no two bones have quite the same flanks."""
    lengths, phases, heights = (9.0, 5.5, 3.5), rng.uniform(0, 2 * np.pi, 3), size_mm * rng.standard_normal(3)
    return sum(
        height * length / 9.0 * np.sin(AXIS_MM / length + phase)
        for length, phase, height in zip(lengths, phases, heights, strict=True)
    )


def _at(curve: np.ndarray, x: float) -> float:
    return float(np.interp(x, AXIS_MM, curve))


def _femur_offset(condyles: np.ndarray, plateau: np.ndarray, features: KneeFeatures) -> np.ndarray:
    """Shift and tilt of the femur, in mm at every x, that leave exactly the features' joint spaces."""
    lateral = _at(plateau, -COMPARTMENT_MM) - features.jsw_lateral_mm - _at(condyles, -COMPARTMENT_MM)
    medial = _at(plateau, COMPARTMENT_MM) - features.jsw_medial_mm - _at(condyles, COMPARTMENT_MM)
    # Level beyond the compartments' middles: a tilt carried on to the margins would drive bone into bone.
    return np.interp(AXIS_MM, (-COMPARTMENT_MM, COMPARTMENT_MM), (lateral, medial))


def _with_spur(outline: np.ndarray, size: float, lip_y: float, *, upwards: bool) -> np.ndarray:
    """Side outline with an osteophyte: furthest out at the joint margin `lip_y`, running back into the bone from it."""
    away = (lip_y - AXIS_MM) if upwards else (AXIS_MM - lip_y)
    spur = 1.9 * size * np.exp(-np.clip(away, 0, None) / (2.2 + 1.1 * size))
    return outline + gaussian_filter1d(spur, 0.4 / STEP_MM, mode="nearest", truncate=3)
