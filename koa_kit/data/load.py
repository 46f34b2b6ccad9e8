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
from koa_kit.data.polarity import Polarity, check_polarity
from koa_kit.data.radiograph import FIRST_READER, READER
from koa_kit.errors import KoaError
from koa_kit.paths import expanded, naming_files


@naming_files()
def load_cohort(
    name: str | os.PathLike = "phantom",
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    patients: int = 400,
    size: int = 224,
    polarity: Polarity = "auto",
    skip_refused: bool = False,
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
    polarity
        "auto" inverts files in which bone is dark and marks them in the table (``inverted``; the cohort's repr and its
        audit count them); "as it is" leaves them. Phantoms are bone bright either way.
    skip_refused
        Go on without images that are refused, instead of stopping at them; ``excluded`` of the cohort lists them.
    progress
        Show a progress bar on stderr while files are read.

    Raises
    ------
    KoaError
        Naming at once all files missing, altered or refused, or a patient in two splits. Nothing is written then. Files
        that are no images stop nothing: they are left out, and listed in ``excluded``.
    """
    # Layouts, cache and phantom are outside the core: they are imported where they are needed.
    from koa_kit.data.cache import cached
    from koa_kit.data.files import printable, survey
    from koa_kit.data.sources import expert_folders, split_folders

    check_polarity(polarity)
    splits = [splits] if isinstance(splits, str) else splits and list(dict.fromkeys(splits))
    entry = load_manifest().get(name) if isinstance(name, str) else None
    if entry and entry.access == "generated":
        from koa_kit.phantom import cohort as phantom

        recipe: dict = {"patients": patients, "size": size, "seed": seed, "version": phantom.VERSION}
        cohort = cached(entry.name, recipe, lambda _: phantom.phantom_cohort(patients, size=size, seed=seed), cache_dir)
        return cohort if splits is None else cohort.split(*splits)
    if entry and not entry.counts:
        raise KoaError(f"{name} holds grades, not images.", remedy="Call load_followup() for its table.")
    root = find_dataset(entry.name, data_dir) if entry else expanded(name)
    if not os.path.isdir(root):  # Path's own raises where it may not look.
        remedy = f"Choose from {', '.join(load_manifest())}, or give the path of a folder with your own images."
        raise KoaError(f"There is no data set and no folder {str(name)!r}.", where=root, remedy=remedy)
    label = entry.name if entry else printable(root.resolve().name)
    width, height = (entry and entry.pixels and entry.pixels.size) or (size, size)
    layout = expert_folders if entry and entry.folders else split_folders
    parts = layout.choose_parts(label, root, splits, entry)
    # All that the result depends on: if any of it changes, the files are read again.
    recipe = {
        "reader": FIRST_READER if entry and entry.hashes else READER,
        "published": entry.fingerprint if entry else None,
        "root": str(root.resolve()),
        "folders": sorted(item.name for item in root.iterdir() if item.is_dir() and not item.name.startswith(".")),
        "files": hashlib.sha256(repr(survey(root, parts)).encode()).hexdigest(),
        "parts": parts,
        "shape": (height, width),
        "skip_refused": skip_refused,
    }
    if polarity != "auto":
        recipe["polarity"] = polarity
    plan = partial(layout.plan, label, root, parts, (height, width), entry)
    read: dict = {"skip": skip_refused, "polarity": polarity, "progress": progress}
    return cached(label, recipe, lambda folder: _read(plan(), folder, **read), cache_dir)


def _read(plan, folder: Path, *, skip: bool, polarity: Polarity, progress: bool) -> Cohort:
    """Cohort read by a `Plan`, its images in ``folder/images.npy``; one `KoaError` names everything that is refused."""
    from koa_kit.data.files import in_threads, reserve

    if skip:
        plan.leave_out_refused()
    if plan.knees.empty:
        plan.problems.append("no image was found")
        plan.refuse()
    files = plan.knees["file"].tolist()
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", dtype=np.uint8, shape=(len(files), *plan.shape))
    reserve(folder / "images.npy")

    def read(row: int) -> tuple[str, bool, str | None]:
        """Hash of a row's file, whether it shows bone dark, and what is wrong with it; its pixels go to `images`."""
        try:
            data = (plan.root / files[row]).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if plan.hashes and plan.hashes[files[row]] != digest:
                raise KoaError(f"its bytes differ from the published file (sha256 {digest[:12]}…)")
            images[row], inverted = plan.read(data, files[row], plan.shape, polarity)
            return digest, inverted, None
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except KoaError as error:
            problem = error.what.removeprefix("The image is refused: ")
        return "", False, problem

    digests, inverted, problems = zip(*in_threads(read, range(len(files)), "reading", progress), strict=True)
    plan.refused |= {file: problem for file, problem in zip(files, problems, strict=True) if problem}
    if skip and plan.refused:  # Once more, without them.
        del images
        return _read(plan, folder, skip=skip, polarity=polarity, progress=progress)
    plan.refuse()
    images.flush()
    table = plan.knees.assign(sha256=digests, inverted=inverted)
    reader = f"{FIRST_READER if plan.hashes else READER} {plan.shape}" + ("" if polarity == "auto" else polarity)
    fingerprint = fingerprint_of(table, f"reader {reader}")
    return Cohort(plan.name, images, table, fingerprint, excluded_table(plan.excluded))
