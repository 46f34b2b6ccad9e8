"""Radiographs as the page shows them: windowed, small or large, as PNG data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from koa_kit.workbench.page.html import THUMB
from koa_kit.workbench.state import Viewing

GREY_LEVELS = 32


def viewed(pixels: np.ndarray, viewing: Viewing) -> np.ndarray:
    """Radiograph uint8 ``(H, W)`` as it is shown: black below the window, white above it, a straight line between."""
    low = viewing.level - (viewing.window - 1) / 2
    levels = (np.arange(256) - low) / max(viewing.window - 1, 1e-6)
    shown = np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8)
    return (255 - shown if viewing.inverted else shown)[np.asarray(pixels, np.uint8)]


def png(pixels: np.ndarray, compress_level: int = 1) -> str:
    """Data URI of a PNG, uint8 ``(H, W)``, every pixel as it is; the fastest level: it lives for one look."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=compress_level)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail(pixels: np.ndarray) -> str:
    """PNG data URI of an X-ray, uint8 ``(H, W)``, longest side at most `THUMB` pixels, `GREY_LEVELS` levels of grey."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    step = 256 // GREY_LEVELS
    low = np.asarray(picture) // step * step
    # the brightest level is white
    return png((low + low // (256 - step) * (step - 1)).astype(np.uint8), compress_level=6)
