"""One file over HTTP, through pooch, going on where an earlier attempt stopped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from koa_kit.errors import KoaError

TIMEOUT_SECONDS = 30
ATTEMPTS = 3
CHUNK = 1 << 16


def download_archive(url: str, folder: Path, *, progress: bool = False) -> Path:
    """Path of the finished download in `folder`; what came so far stays next to it as ``.part`` if it breaks off.

    Raises `KoaError` saying why the server could not be reached or what it answered.
    """
    from requests import exceptions

    archive = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}.zip"
    part = archive.with_suffix(".zip.part")
    if archive.is_file():  # Finished earlier, and stopped while it was unpacked.
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _append(url, part, progress)
                break
            except exceptions.HTTPError as error:
                if error.response.status_code != 416 or attempt == ATTEMPTS:
                    raise
                # It was asked for what lies behind the end: the part is the whole, or of another file.
                if error.response.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    break
                part.unlink()
            except (exceptions.ChunkedEncodingError, exceptions.ConnectionError):
                # Only a transfer that broke off on the way is worth another go at once.
                if attempt == ATTEMPTS or not part.stat().st_size:
                    raise
        os.replace(part, archive)
        return archive
    except exceptions.HTTPError as error:
        raise KoaError(f"The server answered {error.response.status_code} {error.response.reason}.") from error
    except exceptions.Timeout as error:
        raise KoaError(f"The server did not answer within {TIMEOUT_SECONDS} s.") from error
    except exceptions.ConnectionError as error:
        raise KoaError(f"No connection ({_first_cause(error)}).") from error
    except exceptions.RequestException as error:
        raise KoaError(f"The download broke off ({_first_cause(error)}).") from error
    finally:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _append(url: str, part: Path, progress: bool) -> None:
    """Write what `part` lacks of the file at `url`; a server that sends the whole again makes it start over."""
    import pooch

    with part.open("ab") as file:
        have = file.tell()

        def start_over(answer, **_) -> None:
            if answer.status_code == 200:
                file.truncate(0)

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        download = pooch.HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK,
            timeout=TIMEOUT_SECONDS,
            headers=headers,
            hooks={"response": start_over},
        )
        download(url, file, None)


def _first_cause(error: BaseException) -> str:
    while (further := error.__cause__ or error.__context__) is not None:
        error = further
    return str(error) or type(error).__name__
