"""From signs to the radiograph: the knee's shadow, then exposure, blur and grain."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from koa_kit.errors import KoaError
from koa_kit.phantom.drawing.anatomy import COMPARTMENT_MM, MARGIN_MM, build_anatomy, value_at
from koa_kit.phantom.drawing.shadow import FIELD_MM, JOINT_ROW, cast_shadow
from koa_kit.phantom.drawing.tissue import F, grain_field
from koa_kit.phantom.knee.features import KneeFeatures


def draw_knee(features: KneeFeatures, *, side: str = "R", size: int = 224, seed: int = 0) -> np.ndarray:
    """Radiograph of a knee with these signs, uint8 ``(size, size)``, bone bright.

    The viewer faces the patient: the fibula and the lateral compartment of a right knee lie on the image's left.

    Parameters
    ----------
    side
        "R" or "L"; a left knee is the exact mirror image of the right one with the same `seed`.
    size
        Side in pixels, at least 16; the knee fills the image at any size.
    seed
        The small waves of the outlines, the texture and the grain: two knees that differ in one sign and are drawn with
        one seed differ by that sign (and by the windowing, which follows the image's mean and spread).

    An unknown side or a size below 16 is a `KoaError`.

    Examples
    --------
    >>> right, left = draw_knee(KneeFeatures(), side="R"), draw_knee(KneeFeatures(), side="L")
    >>> bool((left == right[:, ::-1]).all())
    True
    """
    check_picture(side, size)
    build, grain = np.random.default_rng(seed).spawn(2)
    shadow = cast_shadow(features, build_anatomy(features, build), size, build, grain)
    pixels = _expose(shadow, features, grain)
    return np.ascontiguousarray(pixels[:, ::-1]) if side == "L" else pixels


def check_picture(side: str, size: int = 16) -> None:
    """Nothing; `KoaError` for an unknown side or a picture too small to show anything."""
    if side not in ("L", "R"):
        raise KoaError(f"There is no side {side!r}.", remedy='Give "L" or "R".')
    if size < 16:
        raise KoaError(f"A knee of {size} pixels shows nothing.", remedy="Give a size of at least 16.")


def landmark_pixels(
    features: KneeFeatures, *, side: str = "R", size: int = 224, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Places a reader looks at, name to (column, row), in the image `draw_knee` makes of the same arguments.

    The names: femur, tibia, fibula, medial_joint_space, lateral_joint_space, tibial_spines, notch, and for both sides
    and bones the margin where osteophytes grow, for example medial_tibia_margin. A place may lie outside the crop.
    """
    exposure, build = features.exposure, features.build
    anatomy = build_anatomy(features, np.random.default_rng(seed).spawn(2)[0])
    plateau, condyles = anatomy.plateau, anatomy.condyles
    # In mm in the right knee's frame.
    places = {
        "femur": (0.0, -30.0),
        "tibia": (0.0, 25.0),
        "fibula": (build.fibula_x_mm, build.fibula_y_mm),
        "tibial_spines": (6.0, value_at(plateau, 6.0) + 1.0),
        "notch": (0.5, value_at(condyles, 0.5)),
    }
    bones = ("femur", condyles, anatomy.femur_sides, -1.5), ("tibia", plateau, anatomy.tibia_sides, 1.5)
    for number, (compartment, sign) in enumerate((("lateral", -1), ("medial", 1))):
        x = sign * COMPARTMENT_MM
        places[f"{compartment}_joint_space"] = x, (value_at(plateau, x) + value_at(condyles, x)) / 2
        for bone, surface, outlines, into in bones:
            y = value_at(surface, sign * MARGIN_MM) + into
            places[f"{compartment}_{bone}_margin"] = sign * (value_at(outlines[number], y) - 0.5), y
    cos, sin = np.cos(np.deg2rad(exposure.tilt_deg)), np.sin(np.deg2rad(exposure.tilt_deg))
    pitch = FIELD_MM / exposure.scale / size
    for name, (x, y) in places.items():
        column = (cos * x + sin * y + exposure.shift_x_mm) / pitch + size / 2 - 0.5
        row = (-sin * x + cos * y + exposure.shift_y_mm) / pitch + JOINT_ROW * size - 0.5
        places[name] = (float(size - 1 - column if side == "L" else column), float(row))
    return places


def _expose(shadow: np.ndarray, features: KneeFeatures, grain: np.random.Generator) -> np.ndarray:
    """Grey levels: windowed to the wanted mean and spread as a digital system does, softly saturated, uint8."""
    exposure, size = features.exposure, len(shadow)
    shadow = gaussian_filter(shadow, exposure.blur * size / 224, mode="nearest", truncate=2.5)
    middle, spread = float(shadow.mean(dtype=np.float64)), float(shadow.std(dtype=np.float64))
    grey = (shadow - F(middle)) * F(exposure.contrast / spread)
    # Windowing stretches the grain together with the knee.
    grey += F(exposure.noise * exposure.contrast / 0.15) * grain_field(size, grain)
    grey += F(exposure.brightness)
    # Shoulder and toe: beyond 0.88 and below 0.1 the picture saturates instead of clipping.
    over, under = np.maximum(grey - F(0.88), 0), np.maximum(F(0.10) - grey, 0)
    grey = np.clip(grey, F(0.10), F(0.88), out=grey)
    grey += F(0.12) * over / (over + F(0.09))
    grey -= F(0.10) * under / (under + F(0.10))
    columns = exposure.collimation_mm / (FIELD_MM / exposure.scale / size)
    if columns > 0:
        # The collimator's edge lies on the medial side of a right knee.
        grey *= F(0.08) + F(0.92) * np.clip(size - columns - 1 - np.arange(size), 0, 1).astype(F)
    grey *= F(255)
    grey += F(0.5)
    return grey.astype(np.uint8)
