"""The folder of a run: who may write into it and when, and whether its files are those that were written.

Nothing of another run, or of anyone else, is lost on the way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from koa_kit.engine.identity import IDENTITY, clear_state, write_identity
from koa_kit.errors import KoaError
from koa_kit.paths import replacing, sha256_of

CONFIG, FAILURE, SUMS = "config.yaml", "failure.txt", "SHA256SUMS"
GRAPH = ("model.onnx", "graph.json")
PREDICTED = ("predictions.parquet", "embeddings.npy", "metrics.json")
RESULTS = (
    "history.csv",
    "model.safetensors",
    "model.json",
    *GRAPH,
    *(f"{split}-{name}" for split in ("holdout", "development") for name in PREDICTED),
    SUMS,
    *PREDICTED,
)


def is_run(folder: Path) -> bool:
    """True if a run of the kit lies in the folder, finished or under way: the kit's own mark is in it."""
    begun = (folder / CONFIG).is_file() and (folder / "model.json").is_file()
    return begun or (folder / IDENTITY).is_file()


def is_finished(folder: Path) -> bool:
    """True if the run in the folder was finished: its metrics are written last."""
    return is_run(folder) and (folder / "metrics.json").is_file()


def can_go_on(folder: Path) -> bool:
    """True if there is a run in the folder, finished or not, whose choices are known."""
    return is_run(folder) and (folder / CONFIG).is_file()


def under_way(folder: Path) -> Path:
    """Where the run begun last in `folder` lies: beside it while it is to take the place of one that is there."""
    return _new(folder) if can_go_on(_new(folder)) else folder


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `KoaError` if a new run would cost what is in the folder.

    That is anything without the kit's mark, whatever is asked; and a run of the kit, unless it may be overwritten.
    """
    if not folder.name or folder.name == "..":
        raise KoaError("A run needs a folder of its own.", where=repr(str(folder)), remedy="Give it a name.")
    if folder.exists() and not folder.is_dir():
        raise KoaError("There is a file where the run is to lie.", where=folder, remedy="Give the run another name.")
    if is_run(folder):
        if can_go_on(folder) and not overwrite:
            raise KoaError(
                "A run lies here already: it is not overwritten unasked.",
                where=folder,
                remedy="Give this run another name, go on with the one that is there (--resume), or replace it once "
                "the new one is finished (--overwrite).",
            )
    elif others := _others(folder, run=False):
        raise KoaError(
            "The folder holds files that are not those of a run.",
            where=f"{folder}: {', '.join(others[:3])}{' …' if len(others) > 3 else ''}",
            remedy="Give the run another name; the kit writes only into folders of its own.",
        )


def begin(folder: Path, facts: dict) -> Path:
    """Folder to begin a run in: `folder`, or one beside it where another has to be kept until this one is finished.

    `facts` are what the run is begun on: the mark of a run, which comes first, so that what is killed then is known.
    """
    shutil.rmtree(_new(folder), ignore_errors=True)
    target = _new(folder) if can_go_on(folder) else folder
    clear_state(target)
    write_identity(target, facts)
    return target


def settle(folder: Path) -> None:
    """Let a finished run that lies beside `folder` take its place; what is not of the old run stays where it was.

    It may be killed anywhere and called again.
    """
    new, old = _new(folder), folder.with_name(f".{folder.name}.old")
    if folder.is_dir():
        _remove(old, folder)
    if is_finished(new) and not (new / IDENTITY).is_file():
        if folder.is_dir():
            os.rename(folder, old)
        os.rename(new, folder)
        _remove(old, folder)


@contextmanager
def one_run(folder: Path) -> Iterator[None]:
    """Raise `KoaError` if another run has taken the place of the one in `folder` when the block ends."""

    def place() -> tuple[int, int] | None:
        return (os.stat(folder).st_dev, os.stat(folder).st_ino) if folder.is_dir() else None

    before = place()
    yield
    if place() != before:
        what = "Another run took the place of the one that was being read."
        raise KoaError(what, where=folder, remedy="Do it again with the run that is there now.")


def write_sums(folder: Path) -> None:
    """Write down the sha256 of every file of the run but its metrics, as ``sha256sum --check`` reads it."""
    names = [name for name in (CONFIG, *RESULTS) if name not in (SUMS, "metrics.json") and (folder / name).is_file()]
    with replacing(folder / SUMS) as path:
        lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names]
        path.write_text("".join(lines), encoding="ascii")


def check_sums(folder: Path) -> None:
    """Raise `KoaError` if a file is not what the run wrote; runs of earlier versions wrote no sums down."""
    if not (folder / SUMS).is_file():
        return
    try:
        kept = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text(encoding="ascii").splitlines())
        odd = [name for name in kept if name not in (CONFIG, *RESULTS)] or ([] if kept else ["no file"])
        odd += [name for name in kept if sha256_of(folder / name) != kept[name]]
    except (OSError, ValueError) as error:
        odd = [str(error)]
    if odd:
        raise KoaError(
            "Files of the run are not what it wrote: they were changed, or come from another run.",
            where=f"{folder}: {odd[0]}",
            remedy=f"Restore them, or train again; without {SUMS} they are taken as they are.",
        )


def _remove(old: Path, folder: Path) -> None:
    for name in _others(old, run=True):
        if not (folder / name).exists():
            os.rename(old / name, folder / name)
    shutil.rmtree(old, ignore_errors=True)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _others(folder: Path, run: bool) -> list[str]:
    """Names of what in a folder is not of a run: readers' reviews, the openings of the test split, anything else."""
    own = {FAILURE, CONFIG, "state", *RESULTS} if run else {FAILURE}
    # what a model said of other knees goes with it
    answers = tuple(f"-{name}" for name in PREDICTED) if run else ()
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    # a run that was killed before its mark was in place leaves a "state" in which nothing is to be seen
    empty = {path.name for path in entries if path.name == "state" and path.is_dir() and not any(path.glob("[!.]*"))}
    names = [path.name for path in entries if not path.name.startswith(".")]
    return [name for name in names if name not in own | empty and not name.endswith(answers)]
