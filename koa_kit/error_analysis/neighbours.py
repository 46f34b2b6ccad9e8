"""Which knees look alike to the model? Nearest knees of one knee, and pairs that may be the same picture twice.

Two knees are compared by the cosine between their embeddings. Where each knee has two embeddings, its own view and its
mirror image, the best of own with own, own with mirrored and mirrored with own counts: a left knee may be nearest to a
right one, and the order of the two knees never matters. (Mirrored with mirrored would only repeat own with own.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError

UNIT = 1e-2  # of squared length 1: float16 caches pass, features that were not normalised do not
ROUNDING = 1e-6  # by which the float32 cosine of two equal vectors may fall short of 1
CELLS = 2**22  # cosines held at a time by `near_duplicates`: 16 MB in float32


def nearest(
    embeddings: np.ndarray, row: int, *, count: int = 6, patients: Sequence | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers int64 ``(n,)`` and cosines float32 ``(n,)`` of the `count` knees nearest to one knee, nearest first.

    `embeddings` are unit vectors ``(N, D)``, or ``(N, 2, D)`` with each knee's own view and its mirror image. With
    `patients`, ``(N,)``, knees of the same patient are left out: the other side and other visits look alike for reasons
    that teach nothing about the grade. Ties come in the order of their rows.
    """
    vectors = _unit_vectors(embeddings)
    if isinstance(row, bool) or not isinstance(row, int | np.integer) or not 0 <= row < len(vectors):
        remedy = f"Give a whole number from 0 to {len(vectors) - 1}."
        raise KoaError(f"There is no knee in row {row!r}.", where="row", remedy=remedy)
    if count < 1:
        raise KoaError(f"{count!r} neighbours are none.", where="count", remedy="Ask for one or more.")
    cosine = _cosines(vectors[row : row + 1], vectors)[0]
    others = np.arange(len(vectors)) != row
    if patients is not None:
        names = _names(patients, len(vectors))
        others &= names != names[row]
    near = np.flatnonzero(others)
    rows = near[np.argsort(-cosine[near], kind="stable")][:count]
    return rows, cosine[rows].clip(-1, 1)


def near_duplicates(
    embeddings: np.ndarray, patients: Sequence, *, above: float = 0.995, most: int = 200
) -> pd.DataFrame:
    """Pairs of knees that look alike to the model, most similar first; embeddings and patients are as for `nearest`.

    A pair of one patient is likely the same knee at two visits or both knees; one of two patients is worth a look: a
    copied file, or a patient under two names who may then sit in two splits. Columns: ``first`` < ``second``, row
    numbers; ``cosine``; ``same_patient``. Ties come in the order of their rows.

    Parameters
    ----------
    above
        Smallest cosine of a pair, -1 to 1. Embeddings of one model may all lie close together: look at the distribution
        before trusting a number.
    most
        Pairs at most, the most similar.
    """
    vectors = _unit_vectors(embeddings)
    names = _names(patients, len(vectors))
    if not -1 <= above <= 1:
        raise KoaError(f"{above!r} is no cosine.", where="above", remedy="Give a number from -1 to 1, as 0.995.")
    if most < 1:
        raise KoaError(f"{most!r} pairs are none.", where="most", remedy="Ask for one or more.")
    pairs = _best_pairs(vectors, above, most)
    return pairs.assign(same_patient=names[pairs["first"]] == names[pairs["second"]])


def _best_pairs(vectors: np.ndarray, above: float, most: int) -> pd.DataFrame:
    """Block by block of all pairs, the best so far: memory does not grow with the square of the knees."""
    none = np.zeros(0, np.int64)
    best = pd.DataFrame({"first": none, "second": none, "cosine": none.astype(np.float32)})
    limit = np.float32(above - ROUNDING)
    lines = max(1, CELLS // len(vectors))
    for start in range(0, len(vectors), lines):
        block = _cosines(vectors[start : start + lines], vectors[start:]).clip(-1, 1)
        block[np.tri(*block.shape, dtype=np.bool_)] = -np.inf  # a knee with itself, and each pair once
        up, right = np.nonzero(block >= limit)
        found = pd.DataFrame({"first": up + start, "second": right + start, "cosine": block[up, right]})
        # blocks come in the order of the rows: of pairs that tie, the earlier ones stay
        best = pd.concat([best, found], ignore_index=True).nlargest(most, "cosine", keep="first")
        if len(best) == most:
            limit = max(limit, best["cosine"].iloc[-1])
    return best.reset_index(drop=True)


def _cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosines ``(M, N)`` between knees ``(M, D)`` and ``(N, D)``, or the best over views where there are two."""
    if some.ndim == 2:
        return some @ others.T
    best = some[:, 0] @ others[:, 0].T
    for own, other in ((0, 1), (1, 0)):
        np.maximum(best, some[:, own] @ others[:, other].T, out=best)
    return best


def _unit_vectors(embeddings: np.ndarray) -> np.ndarray:
    vectors = np.asarray(embeddings)
    shaped = vectors.ndim == 2 or (vectors.ndim == 3 and vectors.shape[1] == 2)
    if not (np.issubdtype(vectors.dtype, np.floating) and shaped and vectors.size):
        what = f"Embeddings of shape {vectors.shape} and type {vectors.dtype} are not those of knees."
        remedy = "Give floats (N, D), or (N, 2, D) with each knee and its mirror image."
        raise KoaError(what, where="embeddings", remedy=remedy)
    vectors = vectors.astype(np.float32, copy=False)
    squares = np.einsum("...d,...d->...", vectors, vectors)
    # written so that a nan fails too
    unit = (abs(squares - 1) <= UNIT).reshape(len(vectors), -1).all(1)
    if not unit.all():
        what, where = f"{(~unit).sum()} knees have an embedding that is no unit vector.", f"row {(~unit).argmax()}"
        remedy = "Divide each embedding by its length; one that is not finite or zero cannot be compared."
        raise KoaError(what, where=f"embeddings, {where}", remedy=remedy)
    return vectors


def _names(patients: Sequence, knees: int) -> np.ndarray:
    names = np.asarray(patients)
    if names.shape != (knees,):
        what, remedy = f"Patients of shape {names.shape} do not fit {knees} knees.", "Give one per embedding, in order."
        raise KoaError(what, where="patients", remedy=remedy)
    if pd.isna(names).any():
        raise KoaError("A knee has no patient.", where=f"patients, row {int(pd.isna(names).argmax())}")
    return names
