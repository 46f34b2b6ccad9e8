"""Is bone dark? The middle of an image and of its halves against their edges, frames and padding set aside."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from koa_kit.errors import KoaError

Polarity = Literal["auto", "as it is"]

INVERTED_BELOW = -5
"""Grey levels (0 to 255, of the sum below), inside a gap: at most -41 in the 84 bone-dark images among the train and
val knees of oai-kl224, at least +23 in the other 6,520, and +17 in those of digital-knee, with one knee or two."""

HALVES = 1.5
"""Weight of the halves against the whole. One bone as narrow as half the image fools the halves (by half of its
contrast), a dark gap between two knees the whole (by less than twice what the halves then say): between 1 and 2."""

EVEN = 0.10
"""A row or column that spreads by at most this share of the image's own spread is frame, padding or gap, not leg."""


def check_polarity(polarity: str) -> None:
    """Raise `KoaError` if this is no choice of polarity."""
    if polarity not in get_args(Polarity):
        choices = " or ".join(f'"{choice}"' for choice in get_args(Polarity))
        raise KoaError(f"There is no polarity {polarity!r}.", where="polarity", remedy=f"Choose {choices}.")


def looks_inverted(pixels: np.ndarray) -> bool:
    """True if bone is dark, in uint8 ``(H, W)`` of one knee or of two side by side.

    Bone lies in the middle of the image, or in the middle of each of its halves: there it is compared with what lies at
    the left and right edges at the same height, and the sum decides, so that nobody has to say how many knees there
    are. Even rows and columns are left out first, wherever they lie: frame, padding or gap says nothing about bone.
    """
    step = max(1, min(pixels.shape) // 224)  # a large film needs no more pixels than a small one
    pixels = _without_even_lines(pixels[::step, ::step].astype(np.float32))
    half = max(1, pixels.shape[1] // 2)
    halves = (_middle_over_edges(pixels[:, :half]) + _middle_over_edges(pixels[:, -half:])) / 2
    return bool(_middle_over_edges(pixels) + HALVES * halves < INVERTED_BELOW)


def _middle_over_edges(pixels: np.ndarray) -> float:
    """Grey levels by which the middle is brighter than the left and right edges at the same height."""
    height, width = pixels.shape
    middle = _centred(_centred(pixels, height * 64 / 224).T, width * 104 / 224)
    beside, edge = _centred(pixels, height / 2), max(1, round(width * 8 / 224))
    return middle.mean() - (beside[:, :edge].mean() + beside[:, -edge:].mean()) / 2


def _centred(pixels: np.ndarray, rows: float) -> np.ndarray:
    rows = max(1, round(rows))
    top = (len(pixels) - rows) // 2
    return pixels[top : top + rows]


def _without_even_lines(pixels: np.ndarray) -> np.ndarray:
    """The image without even rows and columns, and without a rim, where a frame that was resampled shines through."""
    kept = pixels
    while True:
        limit = EVEN * kept.std()
        rows, columns = kept.std(axis=1) > limit, kept.std(axis=0) > limit
        if rows.all() and columns.all():
            break
        if min(rows.sum(), columns.sum()) < 8:
            return pixels
        kept = kept[rows][:, columns]
    top, left = (length // 56 for length in kept.shape)
    return kept[top : len(kept) - top, left : kept.shape[1] - left]
