"""What readers say about knees, kept in a file to which lines are only ever added: one JSON object per review.

Readers' time is the dearest thing here, so a review that was accepted must survive whatever happens next. Several
notebooks and pages may write to one log at once; a killed one leaves at most one torn line, which the next to write
ends and which is reported, not dropped.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from koa_kit.errors import KoaError
from koa_kit.paths import disk_full, plain_file, replacing
from koa_kit.workbench.reviews.review import COLUMNS, TEXTS, Review, in_words

READABLE = "Check the name and who may read it."
PATIENCE = 30
"""Seconds to wait for another process that is writing; one write takes milliseconds."""

HEAD = 1 << 20
"""Bytes in which a file that is a log has a review."""

BEGINNING = b'{"id": "' + b"0" * 32 + b'", "time": "'
"""How every line begins, with the digits of its id as zeros."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings of a formula; some spreadsheets look past a leading tab or line end."""


class ReviewLog:
    """Readers' reviews in the file `path` of JSON lines, its lock beside it; nothing is created before the first one.

    `damaged` holds, as of the last reading, by the number of a line from 1 why it does not count: it is no review, says
    something else under an id already taken, or has no end and is torn or being written at this moment.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.damaged: dict[int, str] = {}
        self._parsed: dict[bytes, Review | str] = {}

    def add(self, review: Review, *, seen: str | None = None) -> None:
        """Append one review; when this returns, the line is on the disk.

        Adding a review again, as after an error that left its fate open, is safe: an id counts once. Nothing is ever
        added to a file that is no log.

        Parameters
        ----------
        review
            What a reader says.
        seen
            The id of what this reader said last of this knee, as far as they know, "" for nothing. What they said
            since, for example in another window, is then not replaced: a `KoaError` says what it was. Omitted, the
            review is added whatever was said.
        """
        if not isinstance(review, Review):
            raise KoaError(f"A review is expected, not {type(review).__name__}.", where="review")
        line = json.dumps(asdict(review), ensure_ascii=False).encode() + b"\n"
        lost = "The review may be lost: mend this, or choose another folder, and add it again."
        with self._explained("written", lost):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            with lock.acquire(timeout=PATIENCE, poll_interval=0.01):
                self._refuse_other_files()
                if seen is None or not self._holds(review, seen):
                    self._append(line)

    def check(self) -> None:
        """Raise `KoaError` if the file cannot be read, or holds something else than reviews."""
        with self._explained("read", READABLE):
            self._refuse_other_files()

    def read(self) -> pd.DataFrame:
        """All reviews in the order they were added, one row each: the fields of `Review`, ``grade`` as ``Int64``."""
        content = b""
        with self._explained("read", READABLE), suppress(FileNotFoundError):
            content = plain_file(self.path).read_bytes()
        *lines, rest = content.split(b"\n")
        reviews: dict[str, Review] = {}
        damaged: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            if line not in self._parsed:
                self._parsed[line] = parsed(line)
            found = self._parsed[line]
            if isinstance(found, str):
                damaged[number] = found
            elif reviews.setdefault(found.id, found) != found:
                damaged[number] = f"It says something else under the id {found.id}."
        if rest:
            damaged[len(lines) + 1] = "It has no end: it is torn, or being written."
        self.damaged = damaged
        kinds = dict.fromkeys(COLUMNS, "str") | {"kl": "int64", "grade": "Int64"}
        values = {name: [getattr(review, name) for review in reviews.values()] for name in COLUMNS}
        return pd.DataFrame({name: pd.Series(values[name], dtype=kinds[name]) for name in COLUMNS})

    def latest(self) -> pd.DataFrame:
        """The last review of each reader of each knee, in the order they were added.

        The last one is the last that was added. Clocks of several machines may differ, the order of lines does not.
        """
        return self.read().drop_duplicates(["reader", "knee_id"], keep="last").reset_index(drop=True)

    def size(self) -> int:
        """Bytes of the log; 0 where there is none yet."""
        return self.path.stat().st_size if self.path.exists() else 0

    def export_csv(self, path: str | os.PathLike) -> int:
        """Number of reviews written to `path` as CSV for spreadsheets, all or nothing.

        Spreadsheets run a cell that begins as `FORMULA` says as a formula, also one that a stranger put into a note.
        Such text gets an apostrophe in front, which they take for "this is text"; the log keeps it to the letter.
        """
        path = Path(path)
        if path.resolve() == self.path.resolve():
            raise KoaError("The log would be replaced by its export.", where=path, remedy="Choose another name.")
        table = self.read()
        for name in TEXTS:
            table[name] = [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in table[name]]
        with self._explained("exported", "Choose a folder you may write to.", path), replacing(path) as whole:
            # Excel garbles accents where there is no byte order mark
            table.to_csv(whole, index=False, encoding="utf-8-sig", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        return len(table)

    def _refuse_other_files(self) -> None:
        """Raise `KoaError` if the file is no log: a torn line may be its only one, anything else needs a review."""
        if not self.path.exists():
            return
        head = b"no file"  # such as a pipe, which would wait to be written to
        if self.path.is_file() or self.path.is_dir():  # a folder cannot be opened, and says so
            with self.path.open("rb") as file:
                head = file.read(HEAD)
        torn = BEGINNING.startswith(_with_zeros(head[: len(BEGINNING)]))
        if not torn and not any(isinstance(parsed(line), Review) for line in head.split(b"\n")):
            remedy = "Name another file for the reviews: this one is left as it is."
            raise KoaError("This is no log of reviews.", where=self.path, remedy=remedy)

    def _holds(self, review: Review, seen: str) -> bool:
        """True if the log holds this review; `KoaError` if its reader said something that they have not `seen`."""
        table = self.read()
        own = table[(table["reader"] == review.reader) & (table["knee_id"] == review.knee_id)]
        if review.id in set(own["id"]):
            return True
        if len(own) and own["id"].iat[-1] != seen:
            last = own.iloc[-1]
            what = (
                f"{review.reader} {in_words(last)} was said of this knee meanwhile, on another page ({last.time[:16]})."
            )
            raise KoaError(what, where=review.knee_id, remedy="It still stands. Press again to replace it.")
        return False

    def _append(self, line: bytes) -> None:
        with open(self.path, "ab+", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # left by a process that was killed: end it, so this line is whole
                    line = b"\n" + line
            if os.write(file.fileno(), line) < len(line):
                raise OSError(errno.ENOSPC, "the disk is full, and the line was not written whole")
            os.fsync(file.fileno())
        if hasattr(os, "O_DIRECTORY"):
            # the name of a new file is on the disk only with its folder, and its maker may have been killed before
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _explained(self, done: str, remedy: str, path: Path | None = None) -> Iterator[None]:
        """Turn what the system refuses into words."""
        where = path or self.path
        try:
            yield
        except Timeout:
            what = f"Another process has held the log for {PATIENCE} seconds."
            raise KoaError(what, where=where, remedy="Try again.") from None
        except (OSError, NotImplementedError) as error:
            if disk_full(error):
                remedy = "Free some space and try again."
            what = f"The reviews cannot be {done}: {getattr(error, 'strerror', None) or error}."
            raise KoaError(what, where=where, remedy=remedy) from error


def _with_zeros(text: bytes) -> bytes:
    """The beginning of a line with the digits of its id as zeros."""
    return text[:8] + re.sub(b"[0-9a-f]", b"0", text[8:40]) + text[40:]


def parsed(line: bytes) -> Review | str:
    """The review of a line, or why it is none."""
    try:
        said = json.loads(line.decode())
        if not isinstance(said, dict) or set(said) != set(COLUMNS):
            return "It has not the fields of a review."
        return Review(**said)
    except KoaError as error:
        return error.what
    except (ValueError, RecursionError) as error:
        return f"It is no JSON: {error}."
