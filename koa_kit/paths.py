"""Where things lie: the kit's own files, the user's data, the caches. Nothing is created on import."""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from koa_kit.errors import KoaError

PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Path of a file or folder that lies at the top level of a clone and inside an installed wheel."""
    for folder in (PACKAGE.parent, PACKAGE):
        if (folder / name).exists():
            return folder / name
    raise KoaError(
        f"The kit's own {name} is missing.",
        where=PACKAGE.parent,
        remedy="Install again: pip install -e '.[all]' in a clone.",
    )


def data_dir(given: str | os.PathLike | None = None) -> Path:
    """Folder that holds one subfolder a data set: `given`, else ``KOA_DATA_DIR``, else the user's data folder."""
    return expanded(given or os.environ.get("KOA_DATA_DIR") or platformdirs.user_data_path("koa_kit"))


def cache_dir(given: str | os.PathLike | None = None) -> Path:
    """Folder for what can be computed again: `given`, else ``KOA_CACHE_DIR``, else the user's cache folder."""
    return expanded(given or os.environ.get("KOA_CACHE_DIR") or platformdirs.user_cache_path("koa_kit"))


def expanded(path: str | os.PathLike) -> Path:
    """The path with ``~`` and ``~name`` resolved, where there is such a user."""
    return Path(os.path.expanduser(path))  # Path's own raises where there is none.


def below(home: Path, name: str) -> Path:
    """Folder called `name` in the folder `home`, or in one of its own there (``grid/plain``).

    Raises
    ------
    KoaError
        If the name is empty, as an unset variable is, leads out of `home`, or is not fit for a folder.
    """
    if not all(re.fullmatch(r"[\w=+,-](?:[\w .=+,-]*[\w=+,-])?", part) for part in name.rstrip("/").split("/")):
        raise KoaError(
            f"{name!r} is no name for a folder." if name.strip() else "The name is empty.",
            where=f"a folder in {home}",
            remedy="Use letters, digits and . = + , - _; another place is given by --runs.",
        )
    return home / name


def plain_file(path: str | os.PathLike) -> Path:
    """The path; `OSError` if a pipe or a device lies there, which a reader would wait for without end."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "It is no file", os.fspath(path))
    return Path(path)


def sha256_of(file: Path) -> str:
    """sha256 of a file's bytes as 64 hex digits."""
    with plain_file(file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def naming_files() -> Iterator[None]:
    """Tell as a `KoaError` what file or folder the system does not let the block, or the function so marked, use."""
    try:
        yield
    except OSError as error:
        raise KoaError(
            f"A file or folder cannot be used: {error.strerror or error}.",
            where=error.filename,
            remedy="Check that it is there and that your account may use it.",
        ) from error


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """Temporary path that takes the place of `path` when the block ends well and vanishes when it does not.

    It lies beside `path`, or in another folder `within` the same disk.

    Raises
    ------
    KoaError
        If the disk is full; `path` then is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=within or path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except Exception as error:
        if disk_full(error):
            raise KoaError(
                "The disk is full, or this account's share of it: the file was not written.",
                where=path,
                remedy="Free some space and go on; what was there before is intact.",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def disk_full(error: BaseException | None) -> bool:
    """True if an error or what led to it is a full disk; torch hides it in a chain, safetensors tells it in words."""
    if error is None:
        return False
    number = re.search(r"os error (\d+)", str(error))
    if getattr(error, "errno", None) in DISK_FULL or (number and int(number.group(1)) in DISK_FULL):
        return True
    return disk_full(error.__cause__ or error.__context__)
