"""What stops the rays: outlines in millimetres turned into the shadow of bone and flesh at every pixel.

Everything is table look-ups and plain arithmetic on float32: fast, and the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from koa_kit.data.phantom.anatomy import AXIS_MM, REACH_MM, STEP_MM, Anatomy
from koa_kit.data.phantom.features import Exposure, KneeFeatures

FIELD_MM = 96.0
"""Side of the square crop in mm."""

JOINT_ROW = 0.58
"""Height of the joint line in the crop, 0 top to 1 bottom, as in the mean knee of oai-kl224."""

_DEEPEST_MM, _PER_MM = 60, 20
F = np.float32


def cast_shadow(
    features: KneeFeatures, anatomy: Anatomy, size: int, build: np.random.Generator, grain: np.random.Generator
) -> np.ndarray:
    """Attenuation at each pixel of a right knee, float32 ``(size, size)``: flesh about 0.5, bone about 0.3 more.

    `build` goes on from `build_anatomy` and places the bead; `grain` gives the bone its texture.
    """
    exposure = features.exposure
    right, down, x, y = millimetres(exposure, size)
    column, row = _entry(x), _entry(y)
    shadow = _flesh(anatomy, exposure, x, y)
    shadow += _blobs_and_lines(anatomy, exposure, right, down)
    shadow += _patella_and_fibula(anatomy, x, y)
    texture = _trabeculae(size, exposure, build, grain)
    whiteness = _whiteness(features)

    # Only the rows where a bone can be: half the work.
    upper, lower = slice(0, np.searchsorted(down, 18)), slice(np.searchsorted(down, -18), size)
    for rows, sign, curve, sides, corners, density, white, line in (
        (upper, -1, anatomy.condyles, anatomy.femur_sides, anatomy.femur_corners, 0.24, 0.5, (-32, 0.004)),
        (lower, 1, anatomy.plateau, anatomy.tibia_sides, anatomy.tibia_corners, 0.21, 1.0, (17, -0.003)),
    ):
        from_joint, depth = _depth(curve, sides, corners, x[rows], y[rows], column[rows], row[rows], sign=sign)
        sclerotic, bone_profile = _profiles()
        bone = bone_profile.take(_deep(depth))
        band = sclerotic.take(_deep(from_joint))
        band *= F(white) * whiteness.take(column[rows])
        # Growth plate of the child, still a faint line across the adult bone.
        band += F(0.024) * bell(y[rows] - F(line[0]) + F(line[1]) * x[rows] * x[rows], 0.7)
        band += F(density) * texture[rows]
        band *= bone
        shadow[rows] += band
    if exposure.bead:
        place = build.choice((-1, 1)) * build.uniform(38, 44), build.uniform(-50, 30)
        shadow[(x - F(place[0])) ** 2 + (y - F(place[1])) ** 2 < 0.6] += F(0.5)
    return shadow


def millimetres(exposure: Exposure, size: int) -> tuple[np.ndarray, ...]:
    """Positions of columns and rows without tilt ``(size,)``, then x and y of each pixel in the knee's own frame."""
    pitch = FIELD_MM / exposure.scale / size
    right = (np.arange(size) + 0.5 - size / 2) * pitch - exposure.shift_x_mm
    down = (np.arange(size) + 0.5 - JOINT_ROW * size) * pitch - exposure.shift_y_mm
    cos, sin = np.cos(np.deg2rad(exposure.tilt_deg)), np.sin(np.deg2rad(exposure.tilt_deg))
    x = np.add.outer((-sin * down).astype(F), (cos * right).astype(F))
    y = np.add.outer((cos * down).astype(F), (sin * right).astype(F))
    return right, down, x, y


def bell(offset: np.ndarray, width: float) -> np.ndarray:
    """Bell 1 / (1 + t^2)^2 with t = offset / (1.5 width): nearly a Gaussian, from plain arithmetic."""
    square = offset * F(1 / (1.5 * width))
    square *= square
    square += F(1)
    square *= square
    return np.reciprocal(square, out=square)


def _entry(position: np.ndarray) -> np.ndarray:
    """Index into a curve over `AXIS_MM`."""
    index = position * F(1 / STEP_MM)
    index += F(REACH_MM / STEP_MM + 0.5)
    np.clip(index, 0, len(AXIS_MM) - 1, out=index)
    return index.astype(np.intp)


def _deep(depth: np.ndarray) -> np.ndarray:
    """Index into a profile over depth; the profile begins 1 mm outside the surface."""
    index = depth * F(_PER_MM)
    index += F(_PER_MM + 0.5)
    np.clip(index, 0, _DEEPEST_MM * _PER_MM - 1, out=index)
    return index.astype(np.intp)


@lru_cache(maxsize=1)
def _profiles() -> tuple[np.ndarray, np.ndarray]:
    """Sclerotic band and bone as tables over the depth below a surface."""
    depth = np.arange(_DEEPEST_MM * _PER_MM) / _PER_MM - 1
    inside, within = np.clip((depth + 0.25) / 0.5, 0, 1), np.clip(depth, 0, None)
    cortex = 0.32 * np.exp(-(((within - 0.35) / 0.55) ** 2))
    cancellous = 0.46 + 0.54 * (1 - np.exp(-within / 5.5))
    # The tilted plateau shows its far rim as a second, fainter line below the near one.
    sclerotic = np.exp(-within / 3.8) + 0.28 * np.exp(-(((within - 4.2) / 0.7) ** 2))
    return (sclerotic * inside).round(6).astype(F), ((cortex + cancellous) * inside).round(6).astype(F)


def _depth(surface, sides, corners, x, y, column, row, *, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth in mm below the joint surface, and below the nearest outline with the two corners rounded off.

    `surface` is a height over x, the bone lies below it (`sign` 1) or above (-1); `sides` are distances over y.
    """
    steepness = sign / np.sqrt(1 + np.gradient(surface, STEP_MM) ** 2)
    from_joint = y * steepness.astype(F).take(column)
    from_joint -= (surface * steepness).astype(F).take(column)

    medial = x > 0
    outline = np.concatenate(sides)
    steepness = np.concatenate([1 / np.sqrt(1 + np.gradient(side, STEP_MM) ** 2) for side in sides])
    pick = row + medial * len(AXIS_MM)
    from_side = (outline * steepness).astype(F).take(pick)
    from_side -= np.abs(x) * steepness.astype(F).take(pick)

    radius = np.where(medial, F(corners[1]), F(corners[0]))
    near_joint, near_side = np.maximum(radius - from_joint, 0), np.maximum(radius - from_side, 0)
    near_joint *= near_joint
    near_side *= near_side
    near_joint += near_side
    rounded = radius - np.sqrt(near_joint, out=near_joint)
    return from_joint, np.where(rounded < radius, rounded, np.minimum(from_joint, from_side))


def _whiteness(features: KneeFeatures) -> np.ndarray:
    """Strength of the white band beside the joint over x: the plate every knee has, and sclerosis where it is worn."""
    shares = np.where(AXIS_MM < 0, 1 - features.medial_share, features.medial_share)
    centre = np.where(AXIS_MM < 0, -21, 21)
    window = np.exp(-(((AXIS_MM - centre) / 13) ** 4))
    healthy = 0.10 + 0.06 * (AXIS_MM > 0)
    return (window * (healthy + 0.085 * features.sclerosis * shares)).round(6).astype(F)


def _flesh(anatomy: Anatomy, exposure: Exposure, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft tissue: thickest in the middle of the leg, none beyond it; the thigh is thicker than the calf."""
    half = exposure.leg_width_mm / 2
    across = x + F(0.15) * np.maximum(y, 0)
    across -= F(anatomy.leg_centre_mm)
    across *= F(1 / half) + F(0.0022 / half) * y
    across *= across
    np.subtract(1, across, out=across)
    np.maximum(across, 0, out=across)
    np.sqrt(across, out=across)
    across *= F(0.5) - F(0.0008) * y
    return across


def _blobs_and_lines(anatomy: Anatomy, exposure: Exposure, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Sum of products of a bell over x and a bell over y; the tilt is too small to matter for these."""
    wall = anatomy.notch_wall_mm
    parts = (
        (0.30 * exposure.glow, 2, 34, -42, 30),  # the thick thigh
        (-0.06, 0.5, 7.5, -14, 7),  # the notch between the condyles
        (0.05, wall, 0.7, -19, 9),  # its medial and lateral wall
        (0.025, 1 - wall, 0.7, -18, 8),
        (0.035, -32.5, 0.8, -13, 8),  # groove of the popliteus tendon
        (0.03, 34, 1.0, -30, 7),
    )
    over_x, over_y = right.astype(F), down.astype(F)
    # No matrix product here or below: a threaded one costs more than it saves on arrays this small.
    return sum(
        np.multiply.outer(F(strength) * bell(over_y - F(y), height), bell(over_x - F(x), width))
        for strength, x, width, y, height in parts
    )


def _patella_and_fibula(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    centre_x, centre_y, radius, clear = anatomy.patella
    across, along = x - F(centre_x), y * F(0.9) - F(0.9 * centre_y)
    shadow = F(radius) - np.sqrt(across * across + along * along)
    shadow *= F(1 / 7)
    np.clip(shadow, 0, 1, out=shadow)
    shadow *= F(0.085 * clear)

    rows = slice(int(np.searchsorted(y[:, 0], 8)), len(y))
    x, y = x[rows], y[rows]
    centre_x, centre_y, half = anatomy.fibula
    along = y - F(centre_y)
    # An egg: its tip points up and outwards, below it the neck narrows into the shaft.
    across = x - F(centre_x) - F(0.25) * along
    across *= F(1) - F(0.018) * np.minimum(along, 0)
    along *= np.where(along < 0, F(0.85), F(0.25))
    depth = F(half) - np.sqrt(across * across + along * along)
    shadow[rows] += F(0.105) * _profiles()[1].take(_deep(depth * F(0.7)))
    return shadow


def _trabeculae(size: int, exposure: Exposure, build: np.random.Generator, grain: np.random.Generator) -> np.ndarray:
    """Density of cancellous bone about 1: fine, mostly upright struts and slow clouds."""
    pixels = size / 224
    field = grain_field(size, grain)
    field = gaussian_filter(field, (1.9 * pixels, 0.5 * pixels), mode="wrap", truncate=2.5)
    field *= F((0.02 + 0.055 * exposure.trabeculae) / max(float(field.std(dtype=np.float64)), 1e-6))
    clouds = (0.05 * build.standard_normal((12, 12))).astype(F)
    at = np.linspace(0, 10.999, size)
    before, share = at.astype(int), (at % 1).astype(F)
    clouds = clouds[before] + share[:, None] * (clouds[before + 1] - clouds[before])
    field += clouds[:, before] + share * (clouds[:, before + 1] - clouds[:, before])
    field += F(1)
    return field


def grain_field(size: int, grain: np.random.Generator) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1, float32: the sum of four random bytes, near enough to normal."""
    four = np.frombuffer(grain.bytes(4 * size * size), np.uint8).reshape(4, size, size)
    return (four.sum(axis=0, dtype=np.uint16).astype(F) - F(510)) * F(1 / 147.8)
