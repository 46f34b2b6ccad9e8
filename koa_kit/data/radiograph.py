"""Reading one radiograph strictly: decode the file fully, check what it is, invert it where bone is dark."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from koa_kit.errors import KoaError

FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
LARGEST = 8192
"""Longest side in pixels that is read; a whole long-leg radiograph stays below it."""

INVERTED_BELOW = -5
"""Grey levels (0 to 255), inside a gap: centre minus borders is at most -21.6 in the 84 bone-dark images among the
train and val knees of oai-kl224 and at least +12.2 in the other 6,520."""

READER = 1
"""Version of the way files are read; part of every fingerprint, so that old caches are not taken for new ones."""


def read_radiograph(path: str | os.PathLike, *, size: int | tuple[int, int] | None = None) -> tuple[np.ndarray, bool]:
    """Pixels of one radiograph, uint8 ``(H, W)`` with bone bright, and whether the file showed bone dark.

    Parameters
    ----------
    path
        PNG, JPEG or TIFF, 8 or 16 bits, grey or RGB with three equal channels. 16 bits are scaled by 255 / 65535.
    size
        Height and width the image must have (one number for a square); omitted, any up to `LARGEST`.

    Raises
    ------
    KoaError
        Naming the file: unreadable or truncated, several frames, palette, transparency or colour, fewer than 8 bits, a
        16-bit file that uses 12 bits or fewer, the wrong size, or a single grey level all over.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise KoaError(f"The image cannot be opened: {error.strerror}.", where=path) from error
    return decode_radiograph(data, where=path, size=size)


def decode_radiograph(data: bytes, where: object, size: int | tuple[int, int] | None = None) -> tuple[np.ndarray, bool]:
    """Pixels and inversion of a radiograph from the file's bytes; as `read_radiograph`, errors name `where`."""
    pixels = _grey_pixels(data, where)
    height, width = pixels.shape
    expected = (size, size) if isinstance(size, int) else tuple(size or pixels.shape)
    if pixels.shape != expected:
        raise _refusal(f"it is {width} x {height} pixels, not {expected[1]} x {expected[0]}", where)
    if pixels.min() == pixels.max():
        raise _refusal(f"every pixel has the same grey level, {pixels.min()}", where)
    inverted = looks_inverted(pixels)
    return (255 - pixels if inverted else pixels), inverted


def looks_inverted(pixels: np.ndarray) -> bool:
    """True if bone is dark: the joint in the middle is darker than the soft tissue at the left and right borders.

    Lengths are for 224 x 224 and scale with the image. The limit was set on oai-kl224: check it on another crop.
    """
    height, width = pixels.shape
    rows, columns, border = (max(1, round(length / 224)) for length in (height * 64, width * 104, width * 8))
    top, left = (height - rows) // 2, (width - columns) // 2
    centre = pixels[top : top + rows, left : left + columns].mean()
    borders = (pixels[:, :border].mean() + pixels[:, -border:].mean()) / 2
    return bool(centre - borders < INVERTED_BELOW)


def _grey_pixels(data: bytes, where: object) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if max(image.size) > LARGEST:
                raise _refusal(f"it is {image.width} x {image.height} pixels, over {LARGEST}", where)
            if getattr(image, "n_frames", 1) > 1:
                raise _refusal(f"it holds {image.n_frames} frames", where)
            # Image.verify() accepts half a file; only load() decodes to the end.
            image.load()
            mode, pixels = image.mode, np.asarray(image)
            # A PNG's bit depth is the 25th byte of the file, in the header chunk; Pillow widens 2 and 4 bits unasked.
            bits = data[24] if image.format == "PNG" else 1 if mode == "1" else 16 if mode.startswith("I;16") else 8
    except UnidentifiedImageError as error:
        raise _refusal(f"it is no {', '.join(FORMATS)} image", where) from error
    except Image.DecompressionBombError as error:
        raise _refusal("it claims to be larger than any X-ray", where) from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError) as error:  # TypeError: of some damaged TIFFs.
        raise _refusal(f"it is truncated or damaged ({error})", where, "Get the file again.") from error
    if bits < 8:
        raise _refusal(f"it has {bits} bit(s) a pixel, at least 8 are needed", where)
    if mode == "L":
        return pixels
    if mode == "RGB":
        if (pixels != pixels[..., :1]).any():
            raise _refusal("its colour channels differ", where, "Save the X-ray itself as grey, without annotations.")
        return np.ascontiguousarray(pixels[..., 0])
    # Older Pillow opens a 16-bit grey PNG as 32-bit "I".
    if mode.startswith("I;16") or (mode == "I" and bits == 16):
        if (highest := pixels.max()) < 4096:
            remedy = "It was saved from 12 bits or fewer without scaling: scale it to the full range."
            raise _refusal(f"it has 16 bits a pixel but uses no level above {highest}", where, remedy)
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    raise _refusal(f"its mode is {mode}, not grey", where, "Save it as an 8- or 16-bit grey PNG.")


def _refusal(reason: str, where: object, remedy: str | None = None) -> KoaError:
    return KoaError(f"The image is refused: {reason}.", where=where, remedy=remedy)
