"""Getting a data set: sources in order, each file's hash checked before it gets its name, only listed files kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from koa_kit import paths
from koa_kit.data.acquire.download import archive_of, download_archive, part_of, remove_if_empty
from koa_kit.data.acquire.unpack import take_files
from koa_kit.data.acquire.verify import check_files
from koa_kit.data.manifest import Entry, Source, find_dataset, how_to_get, load_manifest
from koa_kit.engine.scratch import alone
from koa_kit.errors import KoaError

DOWNLOADS = ".koa-downloads"


@paths.naming_files()
def fetch_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    sources: Sequence[str | Source] | None = None,
    archive: str | os.PathLike | None = None,
    kaggle: bool = False,
    hours: float = 24,
    progress: bool = True,
) -> Path:
    """Folder of a data set, complete and verified; files that are there already are checked and not fetched again.

    An interrupted download goes on where it stopped (where the server allows it), and each published file is written
    only once its sha256 is right, so a fetch can be stopped and repeated at any time. Of several at once one fetches,
    and the others wait for it.

    Parameters
    ----------
    name, data_dir
        Data set of the manifest, and the folder to put ``<name>/`` in, as in `load_cohort`.
    sources
        URLs (or `Source` records) to try instead of the manifest's.
    archive
        A zip downloaded by hand, or a folder it was unpacked to; no network is used then.
    kaggle
        Also try Kaggle, through ``kagglehub`` and your account there.
    hours
        Time after which downloads are stopped; what came so far is kept, and the next fetch goes on there.
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
    if entry.access == "generated":
        raise KoaError(f"{name} is drawn by the kit: there is nothing to fetch.", remedy=f'Call load_cohort("{name}").')
    if entry.access == "gated":
        what = f"{name} needs a registration of your own: there is nothing to fetch."
        raise KoaError(what, remedy=how_to_get(entry, home))
    try:
        folder = find_dataset(name, home)
    except KoaError:
        folder = home / name
    given = entry.sources if sources is None else sources
    if archive is not None:
        given = [Source(kind="archive", at=str(archive))]
    until = time.monotonic() + 3600 * hours
    if not _wanted(entry, folder):
        return folder
    with _one_at_a_time(home, name, until, progress):
        wanted, tried = _wanted(entry, folder), []
        for source in given:
            if not wanted:
                break
            source = source if isinstance(source, Source) else Source(kind="url", at=str(source))
            try:
                _take_source(source, wanted, folder, home / DOWNLOADS, kaggle, until, progress)
                reason = "still lacks"
            except KoaError as error:
                reason = error.what + (f" ({error.where})" if error.where else "")
            except OSError as error:
                reason = f"Writing failed: {error.strerror or error}. ({home})"
            wanted = _wanted(entry, folder)
            tried.append(f"{source}: {reason}" + (f" {_count(wanted)}" if reason == "still lacks" and wanted else ""))
        if wanted:
            raise _failure(entry, home, wanted, tried, archive)
    return folder


@contextmanager
def _one_at_a_time(home: Path, name: str, until: float, progress: bool) -> Iterator[None]:
    """Keep other fetches of a data set waiting; they find it complete when it is their turn."""
    home.mkdir(parents=True, exist_ok=True)
    lock = home / f".koa-{name}.lock"
    with ExitStack() as held:
        try:
            held.enter_context(alone(lock, timeout=0))
        except Timeout:
            if progress:
                print(f"Another process fetches {name}: waiting for it.", file=sys.stderr)
            try:
                held.enter_context(alone(lock, timeout=max(0, until - time.monotonic())))
            except Timeout:
                raise KoaError(f"Another process still fetches {name}.", where=home, remedy="Wait for it.") from None
        yield


def _take_source(
    source: Source, wanted: dict, folder: Path, downloads: Path, kaggle: bool, until: float, progress: bool
) -> None:
    if source.kind != "url":
        take_files(_from_kaggle(source, kaggle) if source.kind == "kaggle" else Path(source.at), wanted, folder)
        return
    expected = archive_of(source.at, downloads)
    for last in (False, True):
        begun_earlier = expected.is_file() or part_of(expected).is_file()
        archive = download_archive(source.at, downloads, until=until, progress=progress)
        try:
            take_files(archive, wanted, folder, prefix=source.prefix)
            break
        except KoaError as error:
            if paths.disk_full(error):
                raise  # The archive is not to blame, and was long in coming.
            archive.unlink()  # A damaged archive must not be taken for a finished download next time.
            if last or not begun_earlier:
                raise
    archive.unlink(missing_ok=True)
    remove_if_empty(downloads)


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
        raise KoaError(f"Kaggle: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error


def _wanted(entry: Entry, folder: Path) -> dict[str, str | None]:
    """Files still to be had with their sha256; without known hashes a pattern for each folder short of files."""
    if entry.hashes:
        known, checks = entry.file_hashes(), check_files(entry, folder)
        return {file: known[file] for check in checks for file in (*check.missing, *check.altered)}
    expected = {
        f"{part}/{name}/*.png": count
        for part, names in entry.folders.items()
        for name, count in zip(names, entry.counts[part], strict=True)
    }
    return {pattern: None for pattern, count in expected.items() if len(list(folder.glob(pattern))) < count}


def _count(wanted: dict) -> str:
    unit = "file(s)" if all(wanted.values()) else "folder(s) of images"
    return f"{len(wanted)} {unit}, such as {next(iter(wanted))}"


def _failure(entry: Entry, home: Path, missing: dict, tried: list[str], archive: object) -> KoaError:
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
