"""Getting a data set: sources in order, each file's hash checked before it gets its name, only listed files kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from koa_kit import paths
from koa_kit.data.acquire.download import download
from koa_kit.data.acquire.unpack import take_archive, take_folder
from koa_kit.data.acquire.verify import check_files
from koa_kit.data.locate import find_dataset, how_to_get
from koa_kit.data.manifest import Entry, Source, load_manifest
from koa_kit.errors import KoaError

DOWNLOADS = ".koa-downloads"


def fetch(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    sources: Sequence[str | Source] | None = None,
    archive: str | os.PathLike | None = None,
    kaggle: bool = False,
    progress: bool = True,
) -> Path:
    """Folder of a data set, complete and verified; files that are there already are checked and not fetched again.

    An interrupted download goes on where it stopped (where the server allows it), and each published file is written
    only once its sha256 is right, so a fetch can be stopped and repeated at any time.

    Parameters
    ----------
    name
        Data set of the manifest.
    data_dir
        Folder to put ``<name>/`` in; omitted, ``KOA_DATA_DIR`` or the user's data folder.
    sources
        URLs (or `Source` records) to try instead of the manifest's.
    archive
        A zip downloaded by hand, or a folder it was unpacked to; no network is used then.
    kaggle
        Also try Kaggle, through ``kagglehub`` and your account there.
    progress
        Show progress bars on stderr.

    Raises
    ------
    KoaError
        If files are still missing after the last source: every source tried and why it failed, what to download by hand
        and where to put it. Also for a gated or generated data set, which cannot be fetched.
    """
    entry = load_manifest()[name]
    home = paths.data_dir(data_dir)
    if entry.access != "open":
        what = "is drawn by the kit" if entry.access == "generated" else "needs a registration of your own"
        remedy = f'Call load_cohort("{name}").' if entry.access == "generated" else how_to_get(entry, home)
        raise KoaError(f"{name} {what}: there is nothing to fetch.", remedy=remedy)
    folder = _target(entry, home)
    if not (wanted := _wanted(entry, folder)):
        return folder
    if archive is not None:
        attempts = [(f"archive {archive}", lambda wanted: _take_given(Path(archive), wanted, folder, home))]
    else:
        attempts = [
            (str(source), lambda wanted, source=source: _take(source, wanted, folder, home, kaggle, progress))
            for source in _as_sources(sources, entry)
        ]
    tried = _try_in_turn(attempts, entry, folder, wanted)
    if tried is not None:
        raise _failure(entry, home, folder, tried, archive)
    return folder


def _try_in_turn(attempts: list[tuple[str, Callable]], entry: Entry, folder: Path, wanted: dict) -> list[str] | None:
    """What each attempt failed of, or None as soon as nothing is wanted any more."""
    tried = []
    for label, attempt in attempts:
        try:
            attempt(wanted)
            wanted = _wanted(entry, folder)
            if not wanted:
                return None
            tried.append(f"{label}: still lacks {_count(wanted)}")
        except KoaError as error:
            tried.append(f"{label}: {error.what}" + (f" ({error.where})" if error.where else ""))
    return tried


def _take(source: Source, wanted: dict, folder: Path, home: Path, kaggle: bool, progress: bool) -> None:
    if source.kind == "kaggle":
        take_folder(_from_kaggle(source, kaggle), wanted, folder)
        return
    if source.kind != "url":
        raise KoaError("It has no address to download from.")
    with _writable(home):
        file = download(source.at, home / DOWNLOADS, progress=progress)
        try:
            take_archive(file, wanted, folder, prefix=source.prefix)
        except KoaError:
            file.unlink()  # A damaged archive must not be taken for a finished download next time.
            raise
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


def _take_given(archive: Path, wanted: dict, folder: Path, home: Path) -> None:
    with _writable(home):
        if archive.is_dir():
            take_folder(archive, wanted, folder)
        elif archive.is_file():
            take_archive(archive, wanted, folder)
        else:
            raise KoaError("It does not exist.")


def _from_kaggle(source: Source, asked: bool) -> Path:
    if not asked:
        raise KoaError("Not tried: it needs a Kaggle account, ask for it with --kaggle (or kaggle=True).")
    try:
        import kagglehub
    except ImportError as error:
        raise KoaError("Not tried: kagglehub is not installed (pip install kagglehub).") from error
    try:
        return Path(kagglehub.dataset_download(source.at))
    except Exception as error:  # kagglehub raises its own and requests' errors without a common base.
        raise KoaError(f"Kaggle: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error


def _target(entry: Entry, home: Path) -> Path:
    try:
        return find_dataset(entry.name, home)
    except KoaError:
        return home / entry.name


def _wanted(entry: Entry, folder: Path) -> dict[str, str | None]:
    """Files still to be had with their sha256; without known hashes a pattern for each folder short of files."""
    if entry.hashes:
        known = entry.file_hashes()
        if not folder.is_dir():
            return known
        checks = check_files(entry, folder)
        return {file: known[file] for check in checks for file in (*check.missing, *check.altered)}
    short = {}
    for part, names in entry.folders.items():
        for name, count in zip(names, entry.counts[part], strict=True):
            here = sum(file.is_file() for file in (folder / part / name).glob("*.png"))
            if here < count:
                short[f"{part}/{name}/*.png"] = None
    return short


def _as_sources(given: Sequence[str | Source] | None, entry: Entry) -> list[Source]:
    if given is None:
        return list(entry.sources)
    return [one if isinstance(one, Source) else Source(kind="url", at=str(one)) for one in given]


def _count(wanted: dict) -> str:
    unit = "file(s)" if all(wanted.values()) else "folder(s) of images"
    return f"{len(wanted)} {unit}, such as {next(iter(wanted))}"


def _failure(entry: Entry, home: Path, folder: Path, tried: list[str], archive: object) -> KoaError:
    missing = _wanted(entry, folder)
    by_hand = "\n      or ".join(str(source) for source in entry.sources)
    first = "Repeat with a connection to the internet, or download" if archive is None else "Download"
    return KoaError(
        f"{entry.name} could not be fetched completely: {_count(missing)} missing or altered.",
        where="".join(f"\n    {line}" for line in tried),
        remedy=(
            f"{first} by hand on another machine:\n         {by_hand}\n"
            f"    and run `koa data fetch {entry.name} --archive FILE.zip`;\n"
            f"    or lay the files out as {home / entry.name / entry.layout}\n"
            f"    and run `koa data {'verify' if entry.hashes else 'audit'} {entry.name}`."
        ),
    )


@contextmanager
def _writable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KoaError(f"Writing failed: {error.strerror or error}.", where=home) from error
