"""Which part of a radiograph a tower sees: all of it, or the band around the joint line at more pixels a millimetre."""

from __future__ import annotations

from koa_kit.errors import KoaError

CROPS = {"whole": (0.0, 1.0), "joint": (0.18, 0.83)}
"""Share of the height at which a crop begins and ends; always the whole width, whose edges bear the osteophytes."""


def crop_rows(height: int, crop: str) -> slice:
    """Rows of a radiograph of this height that lie inside the crop.

    Raises
    ------
    KoaError
        If there is no such crop.
    """
    if crop not in CROPS:
        raise KoaError(f"There is no crop {crop!r}.", remedy=f"Choose from {', '.join(CROPS)}.")
    begin, end = CROPS[crop]
    return slice(round(height * begin), round(height * end))


def crop_shape(width: int, crop: str) -> tuple[int, int]:
    """Height and width in pixels of what a tower sees; a cropped height is a multiple of 8.

    Examples
    --------
    >>> crop_shape(128, "whole"), crop_shape(160, "joint")
    ((128, 128), (104, 160))
    """
    rows = crop_rows(1000, crop)
    share = (rows.stop - rows.start) / 1000
    return (width, width) if share == 1 else (round(width * share / 8) * 8, width)
