"""One file over HTTP, through pooch, going on where an earlier attempt stopped."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

from koa_kit.errors import KoaError

TIMEOUT_SECONDS = 30
ATTEMPTS = 3
CHUNK = 1 << 16


def download(url: str, folder: Path, *, progress: bool = False) -> Path:
    """Path of the finished download in `folder`; what came so far stays beside it as ``.part`` if it breaks off.

    Raises `KoaError` saying why the server could not be reached or what it answered.
    """
    import pooch
    import requests

    name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}.zip"
    part = folder / f"{name}.part"

    def resume(address: str, output: str, _pooch: object) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _append(address, part, progress)
                break
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
                # Only a transfer that broke off on the way is worth another go at once.
                if attempt == ATTEMPTS or not (part.exists() and part.stat().st_size):
                    raise
        os.replace(part, output)

    folder.mkdir(parents=True, exist_ok=True)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # It would advise to note the archive's hash; the files' hashes are what counts.
    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=resume))
    except requests.exceptions.HTTPError as error:
        raise KoaError(f"The server answered {error.response.status_code} {error.response.reason}.") from error
    except requests.exceptions.Timeout as error:
        raise KoaError(f"The server did not answer within {TIMEOUT_SECONDS} s.") from error
    except requests.exceptions.ConnectionError as error:
        raise KoaError(f"No connection ({_last_cause(error)}).") from error
    except requests.exceptions.RequestException as error:
        raise KoaError(f"The download broke off ({_last_cause(error)}).") from error
    finally:
        logger.setLevel(level)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _append(url: str, part: Path, progress: bool) -> None:
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code == 416:  # Asked for what lies behind the end: the part is the whole, or of another file.
            if have == _total(answer.headers):
                return
            part.unlink()
            _append(url, part, progress)
            return
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        length = int(answer.headers.get("Content-Length", 0))
        start = have if goes_on else 0
        with (
            part.open("ab" if goes_on else "wb") as file,
            _bar(progress, start, start + length if length else None) as step,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                step(len(chunk))


def _total(headers) -> int | None:
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _last_cause(error: BaseException) -> str:
    while (further := error.__cause__ or error.__context__) is not None:
        error = further
    return str(error) or type(error).__name__


def _bar(show: bool, start: int, total: int | None):
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    @contextmanager
    def running():
        columns = (
            TextColumn("downloading"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
            task = bar.add_task("downloading", total=total, completed=start)
            yield lambda size: bar.advance(task, size)

    return running()
