"""A cohort of made-up patients: two knees each, grades alike but not the same, split by patient."""

from __future__ import annotations

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from koa_kit import paths
from koa_kit.data.cohort import COLUMNS, Cohort
from koa_kit.data.phantom.drawing import draw_knee
from koa_kit.data.phantom.features import Exposure, KneeFeatures, sample_exposure, sample_features
from koa_kit.errors import KoaError
from koa_kit.style import GRADES

SPLITS = ("train", "val", "test")
SHARES = (0.24, 0.20, 0.22, 0.20, 0.14)
"""Share of each grade: flatter than in oai-kl224, where KL4 is 3 %, so that a small cohort holds every grade."""

LIKENESS, ONE_SIDED = 0.95, 0.35
"""Correlation of the severity of a patient's two knees, and the share of patients whose knees have nothing in common,
as after an injury. Together: the same grade in about half of the patients, within one grade in about 83 %."""

INVERTED_SHARE = 0.015


def phantom_cohort(
    patients: int = 400, *, size: int = 224, seed: int = 0, shares: tuple[float, ...] = SHARES
) -> Cohort:
    """Cohort "phantom" of ``2 * patients`` made-up knees, the same bytes for the same arguments.

    Grades of a patient's two knees are correlated, as in people (in oai-kl224 54 % of patients have the same grade in
    both knees, 82 % within one). Patients are split 60 / 20 / 20 into train, val and test, evenly over severity. Both
    knees of about 1.5 % of the patients (at least one from ten patients on) are marked ``inverted``: as if their files
    had shown bone dark and been turned round on ingest; the images here are bone bright.

    Parameters
    ----------
    patients
        Number of patients, at least 1.
    size
        Side of the images in pixels.
    seed
        Decides everything that is left to chance.
    shares
        Expected share of KL0 to KL4 among the knees, summing to 1.

    Returns
    -------
    Cohort
        The table has, after the usual columns, the eight signs of `KneeFeatures`, the fields of `Exposure` and
        ``draw_seed``, with which `draw_knee` draws the knee again. ``sha256`` is that of the pixels' bytes; ``file``
        is where `write_phantom_files` puts the knee.

    Raises
    ------
    KoaError
        When there is no patient, or the shares are not five that sum to 1.
    """
    table, features = _plan(patients, seed, shares)
    images = np.empty((len(table), size, size), np.uint8)

    def draw(row: int) -> str:
        knee = table.iloc[row]
        images[row] = draw_knee(features[row], side=knee["side"], size=size, seed=int(knee["draw_seed"]))
        return hashlib.sha256(images[row].tobytes()).hexdigest()

    # Each knee has its own seed, so the threads' order does not matter; numpy computes outside Python's lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        table["sha256"] = list(pool.map(draw, range(len(table))))
    images.flags.writeable = False
    signs = pd.DataFrame([knee.as_row() for knee in features])
    table = pd.concat([table[list(COLUMNS)], signs, table[["draw_seed"]]], axis=1)
    digest = hashlib.sha256(f"phantom {size}".encode())
    for knee in table[["split", "kl", "file", "sha256"]].itertuples(index=False):
        digest.update("\n".join(map(str, knee)).encode())
    return Cohort("phantom", images, table, digest.hexdigest()[:16])


def write_phantom_files(folder: str | os.PathLike, patients: int, size: int, seed: int) -> Path:
    """Folder in which the knees of `phantom_cohort` lie as ``split/kl/<patient><side>.png``, like oai-kl224.

    Every split has all five grade folders, some may be empty. Knees marked ``inverted`` are written bone dark.

    Raises
    ------
    KoaError
        When `folder` exists and is not empty: nothing is mixed with what lies there.
    """
    from PIL import Image

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise KoaError("The folder is not empty.", where=folder, remedy="Name a new folder.")
    cohort = phantom_cohort(patients, size=size, seed=seed)
    for split in SPLITS:
        for kl in GRADES:
            (folder / split / str(kl)).mkdir(parents=True, exist_ok=True)
    for pixels, file, inverted in zip(cohort.images, cohort.table["file"], cohort.table["inverted"], strict=True):
        with paths.replacing(folder / file) as temporary:
            Image.fromarray(255 - pixels if inverted else pixels).save(temporary)
    return folder


def _plan(patients: int, seed: int, shares: tuple[float, ...]) -> tuple[pd.DataFrame, list[KneeFeatures]]:
    """Table (sorted by split, patient, side) and features of the knees, not drawn yet."""
    if patients < 1:
        raise KoaError(f"A cohort of {patients} patients has no knees.", remedy="Give at least 1.")
    if len(shares) != len(GRADES) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise KoaError(f"The shares {tuple(shares)} are not five that sum to 1.", remedy=f"For example {SHARES}.")
    rng = np.random.default_rng(seed)
    # Severity at evenly spaced quantiles, in random order: even a small cohort meets its shares.
    severity = ndtri((rng.permutation(patients) + 0.5) / patients)
    shared, own = severity[:, None], rng.standard_normal((patients, 2))
    # The square root makes LIKENESS the correlation between the knees.
    knees = LIKENESS**0.5 * shared + (1 - LIKENESS) ** 0.5 * own
    injured = rng.random(patients) < ONE_SIDED
    knees[injured, 0], knees[injured, 1] = own[injured, 0], severity[injured]
    swapped = rng.random(patients) < 0.5
    knees[swapped] = knees[swapped, ::-1]
    grades = np.searchsorted(ndtri(np.cumsum(shares)[:-1]), knees)
    splits = _splits(severity, rng)
    inverted = np.zeros(patients, bool)
    inverted[rng.permutation(patients)[: math.ceil(INVERTED_SHARE * patients) if patients >= 10 else 0]] = True

    rows, features = [], []
    for number, one in enumerate(rng.spawn(patients)):
        patient = f"P{number:05d}"
        film = sample_exposure(one)
        for side, kl in zip("LR", grades[number].tolist(), strict=True):
            split, knee_id = splits[number], f"{patient}{side}"
            drawn = one.integers(2**31)
            features.append(sample_features(kl, one, exposure=_beside(film, one)))
            file = f"{split}/{kl}/{knee_id}.png"
            rows.append((knee_id, patient, side, split, kl, file, "", bool(inverted[number]), int(drawn)))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "draw_seed"])
    order = np.lexsort((table["knee_id"], table["split"].map(SPLITS.index)))
    return table.iloc[order].reset_index(drop=True), [features[row] for row in order]


def _splits(severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Split of each patient: of any five neighbours in severity three train, one val, one test."""
    splits = np.empty(len(severity), object)
    order = np.argsort(severity)
    for start in range(0, len(order), 5):
        block = order[start : start + 5]
        splits[block] = rng.permutation(["train", "val", "test", "train", "train"][: len(block)])
    return splits


def _beside(film: Exposure, rng: np.random.Generator) -> Exposure:
    """Exposure of one of two knees on the same film: the film's, with this knee's own placement."""
    own = sample_exposure(rng)
    return Exposure(
        brightness=film.brightness + 0.03 * (own.brightness - film.brightness),
        contrast=film.contrast,
        glow=film.glow,
        blur=film.blur,
        noise=film.noise,
        trabeculae=film.trabeculae,
        tilt_deg=own.tilt_deg,
        shift_x_mm=own.shift_x_mm,
        shift_y_mm=own.shift_y_mm,
        scale=film.scale,
        leg_width_mm=film.leg_width_mm,
        bead=own.bead,
    )
