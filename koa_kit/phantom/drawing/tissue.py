"""What lies around and within the bones: flesh, folds, kneecap, fibula, and the texture of cancellous bone."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from koa_kit.phantom.knee.features import KneeFeatures
from koa_kit.phantom.knee.records import Exposure

DEEPEST_MM, PER_MM = 60, 20
"""Depth that a profile reaches, and its entries a mm."""

F = np.float32


def bell(offset: np.ndarray, width: float) -> np.ndarray:
    """Bell 1 / (1 + t^2)^2 with t = offset / (1.5 width): nearly a Gaussian, from plain arithmetic."""
    square = offset * F(1 / (1.5 * width))
    square *= square
    square += F(1)
    square *= square
    return np.reciprocal(square, out=square)


def grain_field(size: int, grain: np.random.Generator) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1, float32: the sum of four random bytes, near enough to normal."""
    four = np.frombuffer(grain.bytes(4 * size * size), np.uint8).reshape(4, size, size)
    total = np.add(four[0], four[1], dtype=np.uint16)
    total += four[2]
    total += four[3]
    return (total.astype(F) - F(510)) * F(1 / 147.8)


def deep(depth: np.ndarray) -> np.ndarray:
    """Index into a profile over depth; the profile begins 1 mm outside the surface."""
    index = depth * F(PER_MM)
    index += F(PER_MM + 0.5)
    np.clip(index, 0, DEEPEST_MM * PER_MM - 1, out=index)
    return index.astype(np.intp)


def flesh(exposure: Exposure, lean: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft tissue: thickest in the middle of the leg, none beyond it; the thigh is thicker than the calf."""
    half = exposure.leg_width_mm / 2
    across = x + F(0.12 + 0.05 * lean[0]) * np.maximum(y, 0)
    across -= F(1.8 * lean[1] - 2.0)
    across *= F(1 / half) + F(0.0022 / half) * y
    across *= across
    np.subtract(1, across, out=across)
    np.maximum(across, 0, out=across)
    np.sqrt(across, out=across)
    across *= F(0.5) - F(0.0008) * y
    return across


def blobs_and_lines(features: KneeFeatures, build: np.random.Generator, right, down) -> np.ndarray:
    """Sum of products of a bell over x and a bell over y; the tilt is too small to matter for these."""
    exposure, person = features.exposure, features.build
    wall = 12.0 + 1.6 * build.standard_normal()
    other = -10.5 + 1.6 * build.standard_normal()
    clear = build.beta(1.5, 2.0, 4)
    light = build.standard_normal(6)
    thigh = -2 + 8 * light[4], 34, -36 + 8 * light[5]
    parts = (
        (0.24 * exposure.glow + 0.4 * exposure.burnt, *thigh, 32),  # the thick thigh
        (0.06 * light[0], 22 * light[1], 26, -30, 22),  # muscle and fat, never even
        (0.06 * light[2], 22 * light[3], 24, 26, 18),
        (-0.035 + 0.02 * features.spiking, 0.5, 7.5, -14, 7),  # the notch between the condyles
        (0.13 * clear[0], wall, 0.55, -20, 9),  # its medial and lateral wall
        (0.10 * clear[1], other, 0.55, -19, 8),
        (0.09 * person.popliteal_groove, -33.5, 0.7, -14, 7),  # groove of the popliteus tendon
        (0.09 * clear[2], 34, 0.8, -31, 7),
        (0.05 * clear[3], -4 + 6 * clear[0], 0.8, 12, 6),
    )
    over_x, over_y = right.astype(F), down.astype(F)
    # No matrix product here or below: a threaded one costs more than it saves on arrays this small.
    return sum(
        np.multiply.outer(F(strength) * bell(over_y - F(y), height), bell(over_x - F(x), width))
        for strength, x, width, y, height in parts
    )


def kneecap(features: KneeFeatures, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shadow of the patella, which lies in front of the femur: a disc with a rim."""
    build = features.build
    across, along = x - F(build.patella_x_mm), y * F(0.9) - F(0.9 * build.patella_y_mm)
    depth = F(build.patella_mm) - np.sqrt(across * across + along * along)
    shadow = np.clip(depth * F(1 / 7), 0, 1)
    shadow += bell(depth - F(0.6), 0.5) * F(0.6)
    shadow *= F(0.06 * build.patella_clear)
    return shadow


def add_fibula(shadow: np.ndarray, features: KneeFeatures, x: np.ndarray, y: np.ndarray, profile: np.ndarray) -> None:
    """Nothing; adds the fibula's head to `shadow` in place. `profile` is bone over the depth below its surface."""
    build = features.build
    rows = slice(int(np.searchsorted(y[:, 0], 8)), len(y))
    x, y = x[rows], y[rows]
    along = y - F(build.fibula_y_mm)
    # An egg: its tip points up and outwards, below it the neck narrows into the shaft.
    across = x - F(build.fibula_x_mm) - F(0.25) * along
    across *= F(1) - F(0.018) * np.minimum(along, 0)
    along *= np.where(along < 0, F(0.85), F(0.25))
    depth = F(build.fibula_mm) - np.sqrt(across * across + along * along)
    shadow[rows] += F(0.065) * profile.take(deep(depth * F(0.8)), mode="clip")


def trabeculae(size: int, exposure: Exposure, build: np.random.Generator, grain: np.random.Generator) -> np.ndarray:
    """Density of cancellous bone about 1: fine, mostly upright struts and clouds of three sizes."""
    pixels = size / 224
    field = grain_field(size, grain)
    field = gaussian_filter(field, (1.5 * pixels, 0.38 * pixels), mode="wrap", truncate=2.5)
    field *= F((0.03 + 0.12 * exposure.trabeculae) / max(float(field.std(dtype=np.float64)), 1e-6))
    for cells, depth in ((7, 0.15), (13, 0.18), (21, 0.08)):
        field += clouds(size, cells, depth, build)
    field += F(1)
    return field


def clouds(size: int, cells: int, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise float32 ``(size, size)``: `depth` its standard deviation at the corners of its squares."""
    corners = (depth * rng.standard_normal((cells, cells))).astype(F)
    # Begun anywhere, so that no lattice shows through many knees.
    at = rng.random() + np.linspace(0, cells - 2.001, size)
    before, share = at.astype(int), (at % 1).astype(F)
    rows = corners[before] + share[:, None] * (corners[before + 1] - corners[before])
    return rows[:, before] + share * (rows[:, before + 1] - rows[:, before])
