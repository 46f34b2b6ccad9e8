"""From files to a cohort: every file read strictly, every refused one named, nothing written unless all is well."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import EXCLUDED_COLUMNS, Cohort, nothing_excluded, require_patients_in_one_split
from koa_kit.data.acquire.verify import WORKERS
from koa_kit.data.cache import IMAGES, cached
from koa_kit.data.locate import find_dataset
from koa_kit.data.manifest import Entry, load_manifest
from koa_kit.data.radiograph import READER
from koa_kit.data.sources import digital_knee, folders
from koa_kit.data.sources.plan import Plan, survey
from koa_kit.errors import KoaError


def load_cohort(
    name: str | os.PathLike = "phantom",
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    patients: int = 400,
    size: int = 224,
    progress: bool = False,
) -> Cohort:
    """Cohort of a data set: drawn or read once, then opened from the cache.

    Parameters
    ----------
    name
        ``phantom``, ``oai-kl224``, ``digital-knee``, or the path of a folder with your own images laid out as
        ``split/grade/<patient><L|R>.png`` (grade 0 to 4; every grade folder must exist, it may be empty). Of a folder
        no hashes are known: nothing tells an altered image from an original. All else is checked as strictly.
    data_dir
        Folder that holds ``<name>/``; omitted, ``KOA_DATA_DIR`` or the user's data folder.
    cache_dir
        Folder for caches; omitted, ``KOA_CACHE_DIR`` or the user's cache folder.
    splits
        Splits to read. Omitted: all of ``phantom``; ``train`` and ``val`` of ``oai-kl224``; of a folder every split but
        ``test``. A test split is read only when it is named here.
    seed, patients
        Of ``phantom``: which knees are drawn, and of how many patients (two knees each). Not used otherwise.
    size
        Side in pixels: drawn (``phantom``), required of every file (a folder), or reached by scaling and padding
        (``digital-knee``). ``oai-kl224`` is always 224.
    progress
        Show a progress bar on stderr while files are read.

    Raises
    ------
    KoaError
        Naming everything that is wrong at once: files missing, altered or refused by `read_radiograph`, a grade folder
        missing, a patient in two splits. Nothing is written then.
    """
    manifest = load_manifest()
    if name not in manifest:
        return _load_own(name, splits, size, cache_dir, progress, manifest.names)
    entry = manifest[name]
    if entry.access == "generated":
        return _load_phantom(splits, seed, patients, size, cache_dir)
    if not entry.counts:
        raise KoaError(f"{name} holds grades, not images.", remedy="Call load_followup() for its table.")
    root = find_dataset(name, data_dir)
    if entry.folders:
        return _load_digital_knee(entry, root, splits, size, cache_dir, progress)
    chosen = folders.choose_splits(name, root, splits, entry)
    recipe = _recipe(root, chosen, published=entry.fingerprint, asked=splits is not None)
    return cached(
        name, recipe, lambda folder: _build(folders.plan_published(entry, root, chosen), folder, progress), cache_dir
    )


def _load_own(name, splits, size, cache_dir, progress, known: list[str]) -> Cohort:
    root = Path(name).expanduser()
    if not root.is_dir():
        raise KoaError(
            f"There is no data set and no folder {str(name)!r}.",
            where=root,
            remedy=f"Choose from {', '.join(known)}, or give the path of a folder with your own images.",
        )
    label = root.resolve().name
    chosen = folders.choose_splits(label, root, splits)
    recipe = _recipe(root, chosen, size=size)
    return cached(
        label, recipe, lambda folder: _build(folders.plan_own(label, root, chosen, size), folder, progress), cache_dir
    )


def _load_digital_knee(entry: Entry, root: Path, splits, size: int, cache_dir, progress: bool) -> Cohort:
    if splits is not None and list(splits) != [digital_knee.SPLIT] and splits != digital_knee.SPLIT:
        raise KoaError(
            f"{entry.name} has the one split {digital_knee.SPLIT!r}: it is for testing only.",
            remedy="Leave out splits.",
        )
    recipe = _recipe(root, list(entry.folders), size=size)
    return cached(
        entry.name, recipe, lambda folder: _build(digital_knee.plan(entry, root, size), folder, progress), cache_dir
    )


def _load_phantom(splits, seed: int, patients: int, size: int, cache_dir) -> Cohort:
    from koa_kit.phantom import cohort as phantom

    def draw(_folder: Path) -> Cohort:
        return phantom.phantom_cohort(patients, size=size, seed=seed)

    recipe = {"patients": patients, "size": size, "seed": seed, "version": phantom.VERSION}
    cohort = cached("phantom", recipe, draw, cache_dir)
    if splits is None:
        return cohort
    wanted = [splits] if isinstance(splits, str) else list(splits)
    for split in wanted:
        cohort.split(split)  # Raises for an unknown one.
    return cohort.take(np.flatnonzero(cohort.table["split"].isin(wanted)))


def _recipe(root: Path, parts: list[str], **further) -> dict:
    beside = sorted(item.name for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))
    listing = hashlib.sha256(repr(survey(root, parts)).encode()).hexdigest()
    return {"reader": READER, "parts": parts, "beside": beside, "listing": listing, **further}


def _build(plan: Plan, folder: Path, progress: bool) -> Cohort:
    """Cohort read by `plan`, its images in ``folder/images.npy``; raises one `KoaError` for everything refused."""
    from rich.console import Console
    from rich.progress import track

    if plan.knees.empty:
        plan.refuse(["no image was found"])
    require_patients_in_one_split(plan.knees, plan.name)
    files = plan.knees["file"].tolist()
    images = np.lib.format.open_memmap(folder / IMAGES, mode="w+", dtype=np.uint8, shape=(len(files), *plan.shape))

    def read(row: int) -> tuple[str, bool, str | None]:
        try:
            data = (plan.root / files[row]).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if plan.hashes and plan.hashes[files[row]] != digest:
                return digest, False, f"{files[row]}: its bytes differ from the published file (sha256 {digest[:12]}…)"
            images[row], inverted = plan.read(data, files[row])
        except OSError as error:
            return "", False, f"{files[row]}: cannot be read ({error.strerror})"
        except KoaError as error:
            return "", False, f"{files[row]}: {error.what.removeprefix('The image is refused: ')}"
        return digest, inverted, None

    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(read, range(len(files)))
        shown = track(results, "reading", len(files), console=Console(stderr=True), disable=not progress)
        digests, inverted, problems = zip(*shown, strict=True)
    plan.refuse([problem for problem in problems if problem])
    images.flush()
    table = plan.knees.assign(sha256=digests, inverted=inverted)
    excluded = pd.DataFrame(plan.excluded, columns=list(EXCLUDED_COLUMNS)) if plan.excluded else nothing_excluded()
    return Cohort(plan.name, images, table, _fingerprint(table, plan.shape), excluded=excluded)


def _fingerprint(table: pd.DataFrame, shape: tuple[int, int]) -> str:
    digest = hashlib.sha256(f"reader {READER} {shape}".encode())
    for knee in table[["split", "kl", "file", "sha256"]].itertuples(index=False):
        digest.update("\n".join(map(str, knee)).encode())
    return digest.hexdigest()[:16]
