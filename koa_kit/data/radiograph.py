"""Reading one radiograph strictly: decode the file fully, check what it is, invert it where bone is dark."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from koa_kit.data.polarity import Polarity, check_polarity, looks_inverted
from koa_kit.errors import KoaError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

READER = 2
"""Version of the way files are read; part of every fingerprint, so that old caches are not taken for new ones."""

FIRST_READER = 1
"""Version that data sets with published hashes keep: no pixel of theirs has changed since, which was measured."""


def read_radiograph(
    path: str | os.PathLike, *, size: int | tuple[int, int] | None = None, polarity: Polarity = "auto"
) -> tuple[np.ndarray, bool]:
    """Pixels of one radiograph, uint8 ``(H, W)`` upright with bone bright, and whether it was turned for that.

    Parameters
    ----------
    path
        PNG, JPEG or TIFF, 8 or 16 bits, grey: as one channel, as a palette, or as RGB with three equal channels (in a
        JPEG nearly equal ones). It is turned upright as the orientation in it says. 16 bits are scaled by 255 / 65535,
        or by the largest sample of the depth that the file itself states (PNG: sBIT, TIFF: MaxSampleValue).
    size
        Height and width the image must have (one number for a square); omitted, any up to 8192.
    polarity
        "auto" inverts an image in which bone is dark (`looks_inverted`); "as it is" never does.

    Raises
    ------
    KoaError
        Naming the file: unreadable, truncated or damaged, a wrong checksum, several frames, transparency or colour,
        fewer than 8 bits, 16 bits of which the upper half goes unused, the wrong size, or one grey level all over.

    Notes
    -----
    JPEG and TIFF carry no checksum: bytes altered within their pixel data may give another picture, unnoticed.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise KoaError("The image cannot be opened: it is no file.", where=path)
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise KoaError(f"The image cannot be opened: {reason}.", where=path) from error
    return decode_radiograph(data, where=path, size=size, polarity=polarity)


def decode_radiograph(
    data: bytes, where: object, size: int | tuple[int, int] | None = None, polarity: Polarity = "auto"
) -> tuple[np.ndarray, bool]:
    """Pixels and inversion of a radiograph from the file's bytes; as `read_radiograph`, errors name `where`."""
    # What can be wrong with a file of each format is outside the core: it is imported where it is needed.
    from koa_kit.data.decoding import grey_pixels

    check_polarity(polarity)
    pixels = grey_pixels(data, where, (size, size) if isinstance(size, int) else size and (size[0], size[1]))
    inverted = polarity == "auto" and looks_inverted(pixels)
    return (255 - pixels if inverted else pixels), inverted
