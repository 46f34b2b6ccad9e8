"""What readers say about knees, kept in a file to which lines are only ever added: one JSON object a verdict.

Readers' time is the dearest thing here, so a verdict that was accepted must survive whatever happens next. Several
notebooks and pages may write to one log at once; a killed one leaves at most one torn line, which the next to write
ends and which is reported, not dropped.
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pandas as pd
from filelock import FileLock, Timeout

from koa_kit.errors import KoaError
from koa_kit.paths import replacing
from koa_kit.workbench.reviews.review import COLUMNS, TEXTS, Verdict

PATIENCE = 30
"""Seconds to wait for another process that is writing; one write takes milliseconds."""


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
BINARY = getattr(os, "O_BINARY", 0)
"""Windows would write other line ends otherwise; elsewhere the flag does not exist."""


def _table(verdicts: list[Verdict]) -> pd.DataFrame:
    kinds = dict.fromkeys(COLUMNS, "str") | {"kl": "int64", "grade": "Int64"}
    return pd.DataFrame({name: pd.Series([getattr(v, name) for v in verdicts], dtype=kinds[name]) for name in COLUMNS})


class DamagedLine(NamedTuple):
    """Number of a line in the log, from 1, and why it is no verdict."""

    line: int
    why: str


class ReaderLog:
    """Readers' verdicts in the file `path`; nothing is created before the first one.

    Parameters
    ----------
    path
        A file of JSON lines. Its lock lies beside it, as ``.NAME.lock``.

    Attributes
    ----------
    damaged
        List of `DamagedLine`, as of the last reading: lines that are no verdict, that say something else under an id
        already taken, or a last one without an end, which is torn or being written at this moment.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._reading = Lock()
        self._named = False
        self._start_over()

    @property
    def damaged(self) -> list[DamagedLine]:
        return self._damaged + self._unended

    def add(self, verdict: Verdict) -> None:
        """Append one verdict; when this returns, the line is on the disk.

        Adding a verdict again, as after an error that left its fate open, is safe: an id counts once.

        Raises
        ------
        KoaError
            If this is no verdict, the log cannot be written, the disk is full, or another process holds the log.
        """
        if not isinstance(verdict, Verdict):
            raise KoaError(f"A verdict is expected, not {type(verdict).__name__}.", where="verdict")
        line = json.dumps(asdict(verdict), ensure_ascii=False).encode() + b"\n"
        with self._told("written", "The verdict may be lost: mend this, or choose another folder, and add it again."):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            with lock.acquire(timeout=PATIENCE, poll_interval=0.01):
                self._append(line)

    def read(self) -> pd.DataFrame:
        """All verdicts in the order they were added, one row each: the fields of `Verdict`, ``grade`` as ``Int64``.

        Only what was added since the last reading is parsed, unless the file was replaced or shortened. An id that
        comes twice counts once. What is no verdict is told in `damaged`.

        Raises
        ------
        KoaError
            If the log is there and cannot be read.
        """
        with self._reading:
            with self._told("read", "Check the name and who may read it."):
                self._catch_up()
            return self._table.copy()

    def latest(self, reader: str | None = None) -> pd.DataFrame:
        """The last word of each reader on each knee, in the order they were said; of `reader` alone if given.

        The last one is the last that was added. Clocks of several machines may differ, the order of lines does not.
        """
        table = self.read()
        if reader is not None:
            table = table[table["reader"] == reader]
        return table.drop_duplicates(["reader", "knee_id"], keep="last").reset_index(drop=True)

    def export_csv(self, path: str | os.PathLike) -> int:
        """Number of verdicts written to `path` as CSV for spreadsheets, all or nothing.

        Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, also one that a stranger
        put into a note, and some look past a leading tab or line end. Such text gets an apostrophe in front, which
        spreadsheets take for "this is text". The log itself keeps what was said to the letter. The file begins with a
        byte order mark, without which Excel garbles accents.

        Raises
        ------
        KoaError
            If the log cannot be read or the file not be written. Look at `damaged` for lines that hold no verdict.
        """
        path = Path(path)
        if path.resolve() == self.path.resolve():
            raise KoaError("The log would be replaced by its export.", where=path, remedy="Choose another name.")
        table = self.read()
        for name in TEXTS:
            table[name] = [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in table[name]]
        with self._told("exported", "Choose a folder you may write to.", path), replacing(path) as whole:
            table.to_csv(whole, index=False, encoding="utf-8-sig", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        return len(table)

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | BINARY, 0o666)
        try:
            size = os.lseek(handle, 0, os.SEEK_END)
            if size:
                os.lseek(handle, size - 1, os.SEEK_SET)
                if os.read(handle, 1) != b"\n":  # left by a process that was killed: end it, so this line is whole
                    line = b"\n" + line
            if os.write(handle, line) < len(line):
                raise OSError(errno.ENOSPC, "the disk is full, and the line was not written whole")
            os.fsync(handle)
        finally:
            os.close(handle)
        if not self._named and hasattr(os, "O_DIRECTORY"):
            # the name of a new file is on the disk only with its folder, and its maker may have been killed before
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._named = True

    def _start_over(self) -> None:
        self._file, self._offset, self._lines, self._last = None, 0, 0, b""
        self._ids: dict[str, Verdict] = {}
        self._damaged: list[DamagedLine] = []
        self._unended: list[DamagedLine] = []
        self._table = _table([])

    def _catch_up(self) -> None:
        try:
            file = open(self.path, "rb")  # noqa: SIM115, the next block closes it
        except FileNotFoundError:  # nobody has said anything yet
            self._start_over()
            return
        with file:
            state = os.fstat(file.fileno())
            # the last line read holds an id of its own: where it no longer stands, this is another file
            file.seek(self._offset - len(self._last))
            if self._file != (state.st_dev, state.st_ino) or file.read(len(self._last)) != self._last:
                self._start_over()
                self._file = (state.st_dev, state.st_ino)
                file.seek(0)
            *lines, rest = file.read().split(b"\n")
        new = []
        for line in lines:
            self._lines += 1
            verdict = self._parsed(line)
            if verdict:
                self._ids[verdict.id] = verdict
                new.append(verdict)
        if lines:
            self._offset += sum(map(len, lines)) + len(lines)
            self._last = lines[-1] + b"\n"
        if new:
            self._table = _table(new) if self._table.empty else pd.concat([self._table, _table(new)], ignore_index=True)
        self._unended = [DamagedLine(self._lines + 1, "It has no end: it is torn, or being written.")] if rest else []

    def _parsed(self, line: bytes) -> Verdict | None:
        """The verdict of a line; None, and an entry among the damaged, of one that is none; None of a known one."""
        try:
            said = json.loads(line.decode())
            if not isinstance(said, dict) or set(said) != set(COLUMNS):
                raise KoaError("It has not the fields of a verdict.")
            verdict = Verdict(**said)
        except (ValueError, RecursionError, KoaError) as error:
            why = error.what if isinstance(error, KoaError) else f"It is no JSON: {error}."
            self._damaged.append(DamagedLine(self._lines, why))
            return None
        known = self._ids.get(verdict.id)
        if known not in (None, verdict):
            self._damaged.append(DamagedLine(self._lines, f"It says something else under the id {verdict.id}."))
        return verdict if known is None else None

    @contextmanager
    def _told(self, done: str, remedy: str, path: Path | None = None) -> Iterator[None]:
        """Turn what the system refuses into words."""
        where = path or self.path
        try:
            yield
        except Timeout:
            raise KoaError(
                f"Another process has held the log for {PATIENCE} seconds.", where=where, remedy="Try again."
            ) from None
        except (OSError, NotImplementedError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                remedy = "Free some space and try again."
            what = f"The verdicts cannot be {done}: {getattr(error, 'strerror', None) or error}."
            raise KoaError(what, where=where, remedy=remedy) from error
