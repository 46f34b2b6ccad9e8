"""The bones' outlines as curves in millimetres: the person's build, bent by the signs of disease.

Frame of a right knee seen from the front, as in the radiograph: x grows towards medial (to the right in the image), y
downwards, the origin lies between the tibial spines at the height of the joint line. A left knee is the mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from koa_kit.phantom.knee.features import KneeFeatures
from koa_kit.phantom.knee.records import Build

REACH_MM, STEP_MM = 84.0, 0.2
AXIS_MM = np.linspace(-REACH_MM, REACH_MM, round(2 * REACH_MM / STEP_MM) + 1)
"""Positions at which every curve is known."""

COMPARTMENT_MM, MARGIN_MM = 25.0, 37.0
"""Distance from the knee's middle of a compartment's middle, where its width is measured, and of the joint margin."""

# Corner points in mm, after the mean right knee of oai-kl224; from above to below.
_FEMUR_LATERAL = (
    (-90, -57, -46, -37, -29, -21, -17, -11, -4, 10),
    (27, 31, 35.5, 40, 40.8, 38.2, 36.8, 38.2, 38, 36.5),
)
_FEMUR_MEDIAL = ((-90, -57, -48, -40, -33, -25, -15, -4, 10), (27, 32, 37.5, 41.2, 42.2, 40.2, 38.9, 38.4, 37))
_TIBIA_LATERAL = ((-20, 4, 9, 14, 20, 30, 39, 60), (38, 38, 38.2, 38, 36.2, 31, 26, 19))
_TIBIA_MEDIAL = ((-20, 4, 9, 14, 20, 30, 39, 60), (37.8, 37.8, 37.4, 36.4, 34.2, 29.5, 26, 22))
_WAVES_MM = np.array([9.0, 5.5, 3.5, 1.8])
_SINES, _COSINES = np.sin(AXIS_MM / _WAVES_MM[:, None]), np.cos(AXIS_MM / _WAVES_MM[:, None])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Outlines of one right knee in mm: curves over `AXIS_MM`; of two entries the first is lateral."""

    # Height y of the tibia's upper and of the femur's lower surface at every x.
    plateau: np.ndarray
    condyles: np.ndarray
    # Distance of the flanks from the middle at every y, positive outwards.
    femur_sides: tuple[np.ndarray, ...]
    tibia_sides: tuple[np.ndarray, ...]
    # Radius of the corners; an osteophyte sharpens it.
    femur_corners: tuple[float, ...]
    tibia_corners: tuple[float, ...]
    # Contours of the bone's far side, both flanks in one curve: depth below the flank, and clearness, 0 to 1.
    femur_lines: tuple[np.ndarray, np.ndarray]
    tibia_lines: tuple[np.ndarray, np.ndarray]


def build_anatomy(features: KneeFeatures, rng: np.random.Generator) -> Anatomy:
    """Outlines of a knee with these signs and this build; `rng` adds the small waves no two bones have alike.

    The gap between `condyles` and `plateau` at ``x = +-COMPARTMENT_MM`` is the joint space width of the features, so
    narrowing on one side alone tips the femur over as in a bow leg.
    """
    build = features.build
    waves = [_uneven(rng, size) for size in (0.5, 0.5, 0.4, 0.4)]
    pace, phase = 1 + 0.3 * rng.standard_normal(2), rng.uniform(0, 2 * np.pi, 2)
    ripple = np.sin(AXIS_MM * 0.42 * pace[0] + phase[0]) + 0.6 * np.sin(AXIS_MM * 0.8 * pace[1] + phase[1])
    small = 0.16 * _uneven(rng, 1.0)
    plateau, condyles = _surfaces(build, small)

    shares = 1 - features.medial_share, features.medial_share
    side = AXIS_MM < 0, AXIS_MM >= 0
    sizes = dict(zip(("fm", "tm", "fl", "tl"), features.osteophytes, strict=True))
    ramp = np.clip((np.abs(AXIS_MM) - 9) / 14, 0, 1)
    edge = np.clip((np.abs(AXIS_MM) - 33) / 6, 0, 1.3) ** 1.5
    for of_side, share, where in zip(side, shares, "lm", strict=True):
        worn = np.where(of_side, share * features.deformity, 0.0) * ramp
        plateau = plateau + worn * (1.1 + 0.02 * (np.abs(AXIS_MM) - COMPARTMENT_MM) + 0.14 * ripple)
        # A worn condyle is flat: it meets the plateau over a broad front instead of at one point.
        condyles = condyles + worn * 0.12 * (np.clip(-condyles, 0, 2.5) + ripple)
        plateau = plateau - 0.42 * sizes["t" + where] * np.where(of_side, edge, 0.0)
        condyles = condyles + 0.42 * sizes["f" + where] * np.where(of_side, edge, 0.0)
    # Spiking: the spines grow and the notch grows narrow.
    plateau = plateau - 0.6 * features.spiking * np.exp(-((np.abs(AXIS_MM) / 8) ** 4))
    condyles = condyles + 0.6 * features.spiking * np.exp(-(((np.abs(AXIS_MM) - 8) / 3.0) ** 2))
    condyles = condyles + _femur_offset(condyles, plateau, features)

    # Advanced wear lets the tibia slip outwards under the femur; an angle bends the shafts off the middle.
    slip = 1.1 * features.deformity * (shares[1] - shares[0])
    bend = -np.tan(np.deg2rad((features.valgus_deg - 5) / 2)) * np.clip(np.abs(AXIS_MM) - 8, 0, None)
    femur, tibia = [], []
    for number, (where, sign) in enumerate(zip("lm", (-1, 1), strict=True)):
        outline = _femur_side(number, build) + waves[number] + sign * bend
        femur.append(_with_spur(outline, sizes["f" + where], value_at(condyles, sign * MARGIN_MM), upwards=True))
        outline = _polyline((_TIBIA_LATERAL, _TIBIA_MEDIAL)[number], 1.2) * build.bone_width
        outline = outline + waves[2 + number] + sign * bend - sign * slip
        tibia.append(_with_spur(outline, sizes["t" + where], value_at(plateau, sign * MARGIN_MM), upwards=False))
    corners = [tuple(mm / (1 + 1.3 * sizes[bone + where]) for where in "lm") for bone, mm in (("f", 6.0), ("t", 2.8))]
    lines = _inner_lines(rng, -40, -8), _inner_lines(rng, 8, 40)
    return Anatomy(plateau, condyles, tuple(femur), tuple(tibia), corners[0], corners[1], *lines)


def _surfaces(build: Build, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plateau and condyles of a healthy knee, the femur still resting at height 0."""
    lateral, medial, dip = build.spine_lateral_mm, build.spine_medial_mm, build.plateau_dip_mm
    along = (-60, -38, -30, -22, -16, -12, -9, -6.5, -5, -3, 0, 3, 5, 6.5, 9, 12, 16, 22, 30, 38, 60)
    plateau = (
        *(6.5, 5.0, 4.3, 4.0, 3.3, 1.7, 3.6 - 0.7 * lateral, 3.4 - lateral, 3.6 - 0.9 * lateral),
        *(3.6 - 0.76 * lateral, 3.6 - 0.66 * lateral, 3.6 - 0.72 * medial, 3.4 - 0.95 * medial, 3.8 - medial),
        *(3.8 - 0.62 * medial, 2.2, 3.0 + 0.4 * dip, 3.4 + dip, 3.2 + 0.9 * dip, 3.4, 4.2),
    )
    notch, arch = build.notch_mm, build.condyle_round
    across = (-60, -38, -33, -25, -18, -13, -8.5, -4.5, 0.5, 5.5, 9.5, 14, 19, 25, 33, 38, 60)
    fall = notch / 12.6
    condyles = (
        *(-3.5, -2.0 - 2.5 * arch, -0.4 - 1.4 * arch, 0.0, -0.5 - 0.9 * arch, -3.4, -7.6 * fall, -10.9 * fall),
        *(-notch, -11.5 * fall, -8.0 * fall, -3.8, -0.6 - 0.9 * arch, 0.0, -0.3 - 0.8 * arch, -1.6 - 1.8 * arch, -3.0),
    )
    slope = np.tan(np.deg2rad(build.slope_deg)) * AXIS_MM
    width = build.bone_width
    return (
        _polyline((along, plateau), 0.6, width) + 0.6 * slope + small,
        _polyline((across, condyles), 1.5, width) - 0.4 * slope,
    )


def _femur_side(number: int, build: Build) -> np.ndarray:
    """Lateral (0) or medial (1) outline of the femur."""
    along, distance = np.array((_FEMUR_LATERAL, _FEMUR_MEDIAL)[number], float)
    distance += (3.4 - 8.5 * build.femur_flare) * np.clip((-35 - along) / 22, 0, None)
    if number == 0:
        distance -= 3.2 * (build.popliteal_groove - 0.3) * np.exp(-(((along + 18) / 4) ** 2))
    return _polyline((along, distance), 1.3) * build.bone_width


def _polyline(points, smooth: float, stretch: float = 1.0) -> np.ndarray:
    """Rounded polyline through `points` over `AXIS_MM`; `smooth` is the rounding's standard deviation in mm."""
    along, values = np.asarray(points, float)
    line = np.interp(AXIS_MM, along * stretch, values)
    return gaussian_filter1d(line, smooth / STEP_MM, mode="nearest", truncate=3)


def _uneven(rng: np.random.Generator, size_mm: float) -> np.ndarray:
    """Slow and quick waves along an outline."""
    phases, heights = rng.uniform(0, 2 * np.pi, len(_WAVES_MM)), size_mm * rng.standard_normal(len(_WAVES_MM))
    heights *= _WAVES_MM / _WAVES_MM[0]
    return ((heights * np.cos(phases))[:, None] * _SINES + (heights * np.sin(phases))[:, None] * _COSINES).sum(axis=0)


def _inner_lines(rng: np.random.Generator, top: float, bottom: float) -> tuple[np.ndarray, np.ndarray]:
    """Contours of the far side below both outlines: depth and how clearly each shows, lateral before medial."""
    depths, clear = [], []
    for _ in range(2):
        middle, reach = rng.uniform(top, bottom), rng.uniform(6, 14)
        depths.append(rng.uniform(1.8, 5.5) + rng.uniform(-0.18, 0.18) * (AXIS_MM - middle) + _uneven(rng, 0.35))
        clear.append(rng.beta(1.6, 1.6) * np.exp(-(((AXIS_MM - middle) / reach) ** 4)))
    return np.concatenate(depths), np.concatenate(clear)


def value_at(curve: np.ndarray, x: float) -> float:
    """Value of a curve over `AXIS_MM` at `x`."""
    return float(np.interp(x, AXIS_MM, curve))


def _femur_offset(condyles: np.ndarray, plateau: np.ndarray, features: KneeFeatures) -> np.ndarray:
    """Shift and tilt of the femur, in mm at every x, that leave exactly the features' joint spaces."""
    lateral = value_at(plateau, -COMPARTMENT_MM) - features.jsw_lateral_mm - value_at(condyles, -COMPARTMENT_MM)
    medial = value_at(plateau, COMPARTMENT_MM) - features.jsw_medial_mm - value_at(condyles, COMPARTMENT_MM)
    # Level beyond the compartments' middles: a tilt carried on to the margins would drive bone into bone.
    return np.interp(AXIS_MM, (-COMPARTMENT_MM, COMPARTMENT_MM), (lateral, medial))


def _with_spur(outline: np.ndarray, size: float, lip_y: float, *, upwards: bool) -> np.ndarray:
    """Side outline with an osteophyte: furthest out at the joint margin `lip_y`, running back into the bone from it."""
    away = (lip_y - AXIS_MM) if upwards else (AXIS_MM - lip_y)
    spur = 1.9 * size * np.exp(-np.clip(away, 0, None) / (2.6 + 1.4 * size))
    return outline + gaussian_filter1d(spur, 0.4 / STEP_MM, mode="nearest", truncate=3)
