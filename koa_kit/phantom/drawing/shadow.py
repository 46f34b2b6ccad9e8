"""What stops the rays: outlines in millimetres turned into the shadow of bone, flesh and metal at every pixel.

Everything is table look-ups and plain arithmetic on float32: fast, and the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from koa_kit.phantom.drawing import tissue
from koa_kit.phantom.drawing.anatomy import AXIS_MM, REACH_MM, STEP_MM, Anatomy
from koa_kit.phantom.drawing.tissue import DEEPEST_MM, PER_MM, F, bell, deep
from koa_kit.phantom.knee.features import KneeFeatures
from koa_kit.phantom.knee.records import Exposure

FIELD_MM = 96.0
"""Side of the square crop in mm."""

JOINT_ROW = 0.58
"""Height of the joint line in the crop, 0 top to 1 bottom, as in the mean knee of oai-kl224."""

# Of bone, and of metal: far beyond any bone's attenuation, so that it shows white.
_DENSITY, _OPAQUE = 0.150, F(0.9)


@dataclass(frozen=True, eq=False)
class Bone:
    """Femur or tibia at the pixels of the rows of the image it can reach."""

    rows: slice
    # Depth below the joint surface, the nearer flank and the nearest outline: float32 in mm, negative outside.
    from_joint: np.ndarray
    from_side: np.ndarray
    depth: np.ndarray
    # Index into a curve over x and over y; `row` counts on for the medial side.
    column: np.ndarray
    row: np.ndarray


def millimetres(exposure: Exposure, size: int) -> tuple[np.ndarray, ...]:
    """Positions of columns and rows without tilt ``(size,)``, then x and y of each pixel in the knee's own frame."""
    pitch = FIELD_MM / exposure.scale / size
    right = (np.arange(size) + 0.5 - size / 2) * pitch - exposure.shift_x_mm
    down = (np.arange(size) + 0.5 - JOINT_ROW * size) * pitch - exposure.shift_y_mm
    cos, sin = np.cos(np.deg2rad(exposure.tilt_deg)), np.sin(np.deg2rad(exposure.tilt_deg))
    x = np.add.outer((-sin * down).astype(F), (cos * right).astype(F))
    y = np.add.outer((cos * down).astype(F), (sin * right).astype(F))
    return right, down, x, y


def place_bones(anatomy: Anatomy, down: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[Bone, ...]:
    """Femur and tibia at the pixels whose positions `millimetres` gives."""
    # Only the rows where a bone can be: half the work.
    upper, lower = slice(0, int(np.searchsorted(down, 18))), slice(int(np.searchsorted(down, -18)), len(down))
    column, row, medial = _entry(x), _entry(y), x > 0
    row += medial * len(AXIS_MM)
    femur = upper, -1, anatomy.condyles, anatomy.femur_sides, anatomy.femur_corners
    tibia = lower, 1, anatomy.plateau, anatomy.tibia_sides, anatomy.tibia_corners
    return tuple(_bone(*bone, *(pixels[bone[0]] for pixels in (x, y, column, row, medial))) for bone in (femur, tibia))


def cast_shadow(
    features: KneeFeatures, anatomy: Anatomy, size: int, build: np.random.Generator, grain: np.random.Generator
) -> np.ndarray:
    """Attenuation at each pixel of a right knee, float32 ``(size, size)``: flesh about 0.5, bone about 0.3 more.

    `build` goes on from `build_anatomy`; `grain` gives the bone its texture.
    """
    exposure = features.exposure
    right, down, x, y = millimetres(exposure, size)
    shadow = tissue.flesh(exposure, build.standard_normal(2), x, y)
    shadow += tissue.blobs_and_lines(features, build, right, down)
    shadow += tissue.kneecap(features, x, y)
    tissue.add_fibula(shadow, features, x, y, _profiles(0.0)[1])
    texture = tissue.trabeculae(size, exposure, build, grain)
    whiteness = _whiteness(features)
    scars = build.uniform(-36, -29), build.uniform(13, 19)
    of_femur = 0.35, anatomy.femur_lines, 0.0, 0.0, scars[0], 0.004
    of_tibia = 1.0, anatomy.tibia_lines, features.build.rim_mm, features.build.veil_mm, scars[1], -0.003
    bones = zip(place_bones(anatomy, down, x, y), (of_femur, of_tibia), strict=True)
    for bone, (white, lines, far, veil, scar, bow) in bones:
        rows, (depths, clear) = bone.rows, (curve.astype(F).take(bone.row, mode="clip") for curve in lines)
        sclerotic, profile = _profiles(round(far * 4) / 4)
        inside = profile.take(deep(bone.depth), mode="clip")
        band = sclerotic.take(deep(bone.from_joint), mode="clip")
        band *= F(white) * whiteness.take(bone.column, mode="clip")
        # Growth plate of the child, still a faint line across the adult bone.
        curve = y[rows] - F(scar) + F(bow) * x[rows] * x[rows]
        band += F(0.055 * features.build.growth_line) * bell(curve, 0.7)
        # Contours of the far side run inside the near one.
        band += F(0.10) * clear * bell(bone.from_side - depths, 0.45)
        band += F(_DENSITY) * texture[rows]
        band *= inside
        if veil:
            # The rim that the beam meets too high covers part of the gap: the joint space looks narrower than it is.
            over = np.clip(bone.from_joint * F(2.5) + F(2.5 * veil + 0.5), 0, 1) * F(0.3 * _DENSITY)
            over *= (bone.from_joint < 0) & (bone.from_side > 2)
            band += over
        shadow[rows] += band
    _add_metal(shadow, features, x, y, build)
    return shadow


def _entry(position: np.ndarray) -> np.ndarray:
    """Index into a curve over `AXIS_MM`."""
    index = position * F(1 / STEP_MM)
    index += F(REACH_MM / STEP_MM + 0.5)
    np.clip(index, 0, len(AXIS_MM) - 1, out=index)
    return index.astype(np.intp)


@lru_cache(maxsize=32)
def _profiles(far_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Sclerotic band and bone as tables over the depth below a surface.

    A plateau that is tilted against the beam shows its far rim as a second, fainter line `far_mm` below the near one.
    """
    depth = np.arange(DEEPEST_MM * PER_MM) / PER_MM - 1
    inside, within = np.clip((depth + 0.25) / 0.5, 0, 1), np.clip(depth, 0, None)
    cortex = 0.46 * np.exp(-(((within - 0.35) / 0.5) ** 2))
    cancellous = 0.42 + 0.58 * (1 - np.exp(-within / 5.0))
    sclerotic = np.exp(-within / 3.4)
    if far_mm >= 0.5:
        sclerotic = sclerotic + 0.5 * np.exp(-(((within - far_mm) / 0.6) ** 2))
    return (sclerotic * inside).round(6).astype(F), ((cortex + cancellous) * inside).round(6).astype(F)


def _bone(rows, sign, surface, sides, corners, x, y, column, row, medial) -> Bone:
    """Bone below (`sign` 1) or above (-1) `surface`, a height over x, and within `sides`, distances over y."""
    steepness = sign / np.sqrt(1 + np.gradient(surface, STEP_MM) ** 2)
    from_joint = y * steepness.astype(F).take(column, mode="clip")
    from_joint -= (surface * steepness).astype(F).take(column, mode="clip")

    outline = np.concatenate(sides)
    steepness = np.concatenate([1 / np.sqrt(1 + np.gradient(side, STEP_MM) ** 2) for side in sides])
    from_side = (outline * steepness).astype(F).take(row, mode="clip")
    from_side -= np.abs(x) * steepness.astype(F).take(row, mode="clip")

    radius = np.where(medial, F(corners[1]), F(corners[0]))
    near_joint, near_side = np.maximum(radius - from_joint, 0), np.maximum(radius - from_side, 0)
    near_joint *= near_joint
    near_side *= near_side
    near_joint += near_side
    rounded = radius - np.sqrt(near_joint, out=near_joint)
    depth = np.where(rounded < radius, rounded, np.minimum(from_joint, from_side))
    return Bone(rows, from_joint, from_side, depth, column, row)


def _whiteness(features: KneeFeatures) -> np.ndarray:
    """Strength of the white band beside the joint over x: the plate every knee has, and sclerosis where it is worn."""
    shares = np.where(AXIS_MM < 0, 1 - features.medial_share, features.medial_share)
    centre = np.where(AXIS_MM < 0, -21, 21)
    window = np.exp(-(((AXIS_MM - centre) / 13) ** 4))
    healthy = 0.13 + 0.05 * (AXIS_MM > 0)
    return (window * (healthy + 0.085 * features.sclerosis * shares)).round(6).astype(F)


def _add_metal(shadow: np.ndarray, features: KneeFeatures, x: np.ndarray, y: np.ndarray, rng: np.random.Generator):
    """Nothing; adds to `shadow`, at the pixels at `x` and `y` mm, the exposure's beads, marker and hardware."""
    exposure = features.exposure
    # Drawn whatever the exposure shows, so that no other detail of the knee hangs on the metal.
    place = rng.uniform(size=8)
    if exposure.beads:
        column, first = -45.5 + 2.5 * place[0], -56 + 21 * place[1]
        # Four beads 21 mm apart on a leaning line: the positioning frame's edge.
        for number in range(5):
            _dot(shadow, x, y, (column + 0.35 * number * (place[2] - 0.5), first + 21 * number), 0.75)
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
            _dot(shadow, x, y, head + along * step, 1.7)
        _bar(shadow, x, y, head, (-along[1], along[0]), 2.4, 1.2)
    elif exposure.hardware == "staple":
        centre = 22 + 8 * place[5], 22 + 6 * place[6]
        for across in (-4.0, 4.0):
            _bar(shadow, x, y, (centre[0] + across, centre[1] + 5), (0.0, 1.0), 6.0, 0.7)
        _bar(shadow, x, y, centre, (1.0, 0.0), 4.5, 0.8)


def _dot(shadow, x, y, centre, radius: float) -> None:
    square = (x - F(centre[0])) ** 2 + (y - F(centre[1])) ** 2
    shadow += _OPAQUE * np.clip(F(1.5) - square * F(1 / radius**2), 0, 1)


def _bar(shadow, x, y, centre, direction, half: float, radius: float) -> None:
    """A rod of metal: `half` its half length, `direction` a vector of any length."""
    along_x, along_y = np.asarray(direction, float) / np.hypot(*direction)
    along = (x - F(centre[0])) * F(along_x) + (y - F(centre[1])) * F(along_y)
    across = (y - F(centre[1])) * F(along_x) - (x - F(centre[0])) * F(along_y)
    beyond = np.maximum(np.abs(along) - F(half), 0)
    inside = np.clip(F(radius + 0.3) - np.sqrt(across * across + beyond * beyond), 0, 0.6)
    shadow += _OPAQUE / F(0.6) * inside
