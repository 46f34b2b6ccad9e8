"""A cohort of synthetic patients: the population's knees, drawn."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from koa_kit import paths
from koa_kit.cohort import COLUMNS, Cohort, fingerprint_of
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.phantom.drawing.masks import MASKS, knee_masks
from koa_kit.phantom.drawing.radiograph import draw_knee
from koa_kit.phantom.knee.features import KneeFeatures
from koa_kit.phantom.knee.records import sample_build, sample_exposure, sample_exposure_on_film
from koa_kit.phantom.population.population import sample_population

SPLITS = ("train", "val", "test")
VERSION = 1
"""Of the drawn bytes: a cache of another version is drawn anew. To be raised when a test finds other bytes."""


def phantom_cohort(
    patients: int = 400,
    *,
    size: int = 224,
    seed: int = 0,
    shares: str | Sequence[float] = "teaching",
    months: int = 0,
    asymmetry: float = 0.0,
    shortcut: float = 0.0,
) -> Cohort:
    """Cohort "phantom" of ``2 * patients`` synthetic knees, the same bytes for the same arguments.

    The patients are those of `sample_population`. Knees marked ``inverted`` stand for films whose file shows bone dark
    and was turned round on ingest; the images here are bone bright.

    Parameters
    ----------
    size
        Side of the images in pixels.
    patients, seed, shares, months, asymmetry, shortcut
        As of `sample_population`.

    Returns
    -------
    Cohort
        The table has, after the usual columns, those of `sample_population`, the fields of `Build` and of `Exposure`:
        `KneeFeatures.from_row` makes features of a row, and `draw_knee` draws them again with the row's ``draw_seed``.
        ``sha256`` is that of the pixels' bytes; ``file`` is where `write_phantom_files` puts the knee.

    An argument outside its range is a `KoaError`.
    """
    people = sample_population(
        patients, seed=seed, shares=shares, months=months, asymmetry=asymmetry, shortcut=shortcut
    )
    table = _with_films(people, seed)
    images = np.empty((len(table), size, size), np.uint8)
    _keep_memory()
    # One after the other: on arrays this small threads wait for Python's lock longer than they compute.
    for image, knee in zip(images, table.to_dict("records"), strict=True):
        image[:] = draw_knee(KneeFeatures.from_row(knee), side=knee["side"], size=size, seed=knee["draw_seed"])
    table["sha256"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    images.flags.writeable = False
    return Cohort("phantom", images, table, fingerprint_of(table, f"phantom {size}"))


def phantom_masks(table: pd.DataFrame, size: int = 224) -> dict[str, np.ndarray]:
    """Where each sign lies in the images of these rows of a phantom cohort's table: name to bool ``(N, size, size)``.

    The names are those of `knee_masks`; 0.35 MB per knee at 224 pixels.
    """
    _keep_memory()
    masks = {name: np.zeros((len(table), size, size), bool) for name in MASKS}
    for row, knee in enumerate(table.to_dict("records")):
        drawn = knee_masks(KneeFeatures.from_row(knee), side=knee["side"], size=size, seed=knee["draw_seed"])
        for name, mask in drawn.items():
            masks[name][row] = mask
    return masks


def write_phantom_files(folder: str | os.PathLike, patients: int, size: int, seed: int) -> Path:
    """Folder in which the knees of `phantom_cohort` lie as ``split/kl/<patient><side>.png``, like oai-kl224.

    Every split has all five grade folders, some may be empty. Knees marked ``inverted`` are written bone dark. A
    folder that is not empty is a `KoaError`.
    """
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


def _keep_memory() -> None:
    """Nothing; a large block freed once teaches glibc to keep freed memory: a fifth of the drawing time on Linux."""
    np.empty(24 << 20, np.uint8)


def _with_films(people: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The population's table, sorted by split, patient and side, with the person's build and the film of every knee."""
    films = []
    chances, markers = np.random.default_rng((seed, 1)).spawn(len(people) // 2), iter(people["marker"].tolist())
    for chance in chances:
        # Both knees lie on one film, and the second is built like the first.
        exposure, build = sample_exposure(chance), sample_build(chance)
        for knee in range(2):
            exposure = replace(sample_exposure_on_film(exposure, chance), marker=next(markers))
            build = sample_build(chance, other_knee=build) if knee else build
            films.append(asdict(build) | asdict(exposure))
    table = pd.concat([people.drop(columns="marker"), pd.DataFrame(films)], axis=1)
    table["file"] = table["split"] + "/" + table["kl"].astype(str) + "/" + table["knee_id"] + ".png"
    table["sha256"] = ""
    order = np.lexsort((table["knee_id"], table["split"].map(SPLITS.index)))
    further = [name for name in table if name not in COLUMNS]
    return table.iloc[order].reset_index(drop=True)[[*COLUMNS, *further]]
