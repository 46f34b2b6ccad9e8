"""From files to a cohort: every file read strictly, every refused one named, nothing written unless all is well."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from koa_kit.cohort import Cohort, excluded_table, fingerprint_of
from koa_kit.data.manifest import find_dataset, load_manifest
from koa_kit.data.radiograph import READER
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
        ``split/grade/<patient><L|R>.png`` (grade 0 to 4; every grade folder must exist, it may be empty). A folder is
        checked as strictly, but has no hashes: nothing tells an altered image from an original.
    data_dir, cache_dir
        Folders of ``<name>/`` and of the caches; omitted, ``KOA_DATA_DIR`` and ``KOA_CACHE_DIR`` or the user's own.
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
        Naming at once all files missing, altered or refused, or a patient in two splits. Nothing is written then.
    """
    # Layouts, cache and phantom are outside the core: they are imported where they are needed.
    from koa_kit.data.cache import cached
    from koa_kit.data.files import survey
    from koa_kit.data.sources import expert_folders, split_folders

    splits = [splits] if isinstance(splits, str) else splits and list(dict.fromkeys(splits))
    entry = load_manifest().get(name)
    if entry and entry.access == "generated":
        from koa_kit.phantom import cohort as phantom

        recipe = {"patients": patients, "size": size, "seed": seed, "version": phantom.VERSION}
        cohort = cached(name, recipe, lambda _: phantom.phantom_cohort(patients, size=size, seed=seed), cache_dir)
        return cohort if splits is None else cohort.split(*splits)
    if entry and not entry.counts:
        raise KoaError(f"{name} holds grades, not images.", remedy="Call load_followup() for its table.")
    root = find_dataset(name, data_dir) if entry else Path(name).expanduser()
    if not root.is_dir():
        remedy = f"Choose from {', '.join(load_manifest())}, or give the path of a folder with your own images."
        raise KoaError(f"There is no data set and no folder {str(name)!r}.", where=root, remedy=remedy)
    label = entry.name if entry else root.resolve().name
    shape = tuple(entry.pixels.size[::-1]) if entry and entry.pixels.size else (size, size)
    layout = expert_folders if entry and entry.folders else split_folders
    parts = layout.choose_parts(label, root, splits, entry)
    # All that the result depends on: if any of it changes, the files are read again.
    recipe = {
        "reader": READER,
        "published": entry.fingerprint if entry else None,
        "root": str(root.resolve()),
        "folders": sorted(item.name for item in root.iterdir() if item.is_dir() and not item.name.startswith(".")),
        "files": hashlib.sha256(repr(survey(root, parts)).encode()).hexdigest(),
        "parts": parts,
        "shape": shape,
    }
    plan = partial(layout.plan, label, root, parts, shape, entry)
    return cached(label, recipe, lambda folder: _read(plan(), folder, progress), cache_dir)


def _read(plan, folder: Path, progress: bool) -> Cohort:
    """Cohort read by a `Plan`, its images in ``folder/images.npy``; one `KoaError` names everything that is refused."""
    from koa_kit.data.files import in_threads

    if plan.knees.empty:
        plan.refuse(["no image was found"])
    files = plan.knees["file"].tolist()
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", dtype=np.uint8, shape=(len(files), *plan.shape))

    def read(row: int) -> tuple[str, bool, str | None]:
        """Hash of a row's file, whether it shows bone dark, and what is wrong with it; its pixels go to `images`."""
        try:
            data = (plan.root / files[row]).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if plan.hashes and plan.hashes[files[row]] != digest:
                raise KoaError(f"its bytes differ from the published file (sha256 {digest[:12]}…)")
            images[row], inverted = plan.read(data, files[row], plan.shape)
            return digest, inverted, None
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except KoaError as error:
            problem = error.what.removeprefix("The image is refused: ")
        return "", False, f"{files[row]}: {problem}"

    digests, inverted, problems = zip(*in_threads(read, range(len(files)), "reading", progress), strict=True)
    plan.refuse([problem for problem in problems if problem])
    images.flush()
    table = plan.knees.assign(sha256=digests, inverted=inverted)
    fingerprint = fingerprint_of(table, f"reader {READER} {plan.shape}")
    return Cohort(plan.name, images, table, fingerprint, excluded_table(plan.excluded))
