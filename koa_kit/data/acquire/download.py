"""One file over HTTP, through pooch, going on where an earlier attempt stopped, and never waiting for ever."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import cast

from koa_kit.data.files import printable
from koa_kit.errors import KoaError

TIMEOUT_SECONDS = 30
STALLED_SECONDS = 120
"""Without another `CHUNK` in this time (some 550 bytes a second) a server is given up."""

ATTEMPTS = 3
BUSY = (429, 500, 502, 503, 504)
LONGEST_PAUSE = 60
CHUNK = 1 << 16
LARGEST_DOWNLOAD = 16 << 30
"""Bytes; the largest archive that is known has about 7 GB."""


def archive_of(url: str, folder: Path) -> Path:
    """Where the finished download of `url` lies in `folder`; what came so far lies next to it as ``.part``."""
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}.zip"


def part_of(archive: Path) -> Path:
    """What came so far of an archive."""
    return archive.with_suffix(".zip.part")


def download_archive(url: str, folder: Path, *, until: float = float("inf"), progress: bool = False) -> Path:
    """Path of the finished download in `folder`; what came so far stays next to it as ``.part`` if it breaks off.

    A server that is busy, or whose transfer breaks off, is asked again. Raises `KoaError` saying why the server could
    not be reached, what it answered, or that it was not done `until` this moment of `time.monotonic`.
    """
    from requests import Response, exceptions
    from urllib3.exceptions import HTTPError as TransportError

    archive = archive_of(url, folder)
    part = part_of(archive)
    if archive.is_file():  # Finished earlier, and stopped while it was unpacked.
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _transfer(url, part, until, progress)
                break
            except exceptions.HTTPError as error:
                answer = cast(Response, error.response)
                status, headers = answer.status_code, answer.headers
                if attempt == ATTEMPTS or status not in (*BUSY, 416):
                    raise
                if status in BUSY:
                    _pause(headers.get("Retry-After", ""), attempt, until)
                # It was asked for what lies behind the end: the part is the whole, or of another file.
                elif headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    break
                else:
                    part.unlink()
            except (exceptions.ChunkedEncodingError, exceptions.ConnectionError) as error:
                # Only a transfer that broke off on the way is worth another go at once.
                begun = isinstance(error, exceptions.ChunkedEncodingError) or part.stat().st_size
                if attempt == ATTEMPTS or not begun:
                    raise
        os.replace(part, archive)
        return archive
    except exceptions.HTTPError as error:
        answer = cast(Response, error.response)
        raise KoaError(f"The server answered {_said(f'{answer.status_code} {answer.reason}')}.") from error
    except exceptions.Timeout as error:
        raise KoaError(f"The server did not answer within {TIMEOUT_SECONDS} s.") from error
    except exceptions.ConnectionError as error:
        raise KoaError(f"No connection ({_first_cause(error)}).") from error
    except (exceptions.RequestException, TransportError, ValueError) as error:  # ValueError: nonsense in its headers.
        raise KoaError(f"The download broke off ({_first_cause(error)}).") from error
    finally:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of downloads once there are none."""
    with suppress(OSError):  # There are some, or another process was faster.
        folder.rmdir()


def _transfer(url: str, part: Path, until: float, progress: bool) -> None:
    """Append to `part` what it lacks of the file at `url`, and give up where that takes too long or does not end.

    It is done in a thread: a server can also be slow where no time limit of the library holds, as in its headers.
    """
    stopped, done, failures = Event(), Event(), []

    def work() -> None:
        try:
            _append(url, part, stopped, progress)
        except Exception as error:
            failures.append(error)
        finally:
            done.set()

    have, grown = -1, time.monotonic()
    Thread(target=work, daemon=True).start()
    try:
        while not done.wait(0.1):
            now, size = time.monotonic(), part.stat().st_size if part.is_file() else 0
            if size != have:
                have, grown = size, now
            if now > until:
                raise KoaError("The time that was given for it is over; what came so far is kept.")
            if now > grown + STALLED_SECONDS:
                raise KoaError(f"The server sent next to nothing for {STALLED_SECONDS} s; what came so far is kept.")
            if size > LARGEST_DOWNLOAD:
                part.unlink()
                raise KoaError(f"The server sent more than {LARGEST_DOWNLOAD >> 30} GB: that is no archive of knees.")
    finally:
        stopped.set()
    if failures:
        raise failures[0]


def _append(url: str, part: Path, stopped: Event, progress: bool) -> None:
    """Write what `part` lacks of the file at `url`; a server that sends the whole again makes it start over."""
    import pooch
    from requests import exceptions

    with part.open("ab") as file:
        have = file.tell()

        class Target:  # What the download is written to, as pooch sees it.
            flush = file.flush

            @staticmethod
            def write(chunk: bytes) -> None:
                if stopped.is_set():
                    raise exceptions.Timeout
                file.write(chunk)

        def begin(answer, **_) -> None:
            other = answer.status_code == 206 and f"bytes {have}-" not in answer.headers.get("Content-Range", "")
            if answer.status_code == 200 or other:
                file.truncate(0)
            if other:
                raise exceptions.ChunkedEncodingError("the server sent another part than it was asked for")

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        download = pooch.HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK,
            timeout=TIMEOUT_SECONDS,
            headers=headers,
            hooks={"response": begin},
        )
        download(url, Target, None)


def _pause(asked: str, attempt: int, until: float) -> None:
    """Wait as long as a busy server asks for, or longer after each attempt, but not too long."""
    seconds = min(int(asked) if asked.isdecimal() else 2.0**attempt, LONGEST_PAUSE)
    time.sleep(max(0, min(seconds, until - time.monotonic())))


def _first_cause(error: BaseException) -> str:
    while (further := error.__cause__ or error.__context__) is not None:
        error = further
    return _said(str(error)) or type(error).__name__


def _said(text: str) -> str:
    """What a server said, fit to be shown."""
    return printable(text[:200])
