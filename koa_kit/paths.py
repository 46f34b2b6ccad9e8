"""Where things lie: the kit's own files, the user's data, the caches. Nothing is created on import."""

import errno
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
    return Path(given or os.environ.get("KOA_DATA_DIR") or platformdirs.user_data_path("koa_kit")).expanduser()


def cache_dir(given: str | os.PathLike | None = None) -> Path:
    """Folder for what can be computed again: `given`, else ``KOA_CACHE_DIR``, else the user's cache folder."""
    return Path(given or os.environ.get("KOA_CACHE_DIR") or platformdirs.user_cache_path("koa_kit")).expanduser()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that takes its place when the block ends well and vanishes when it does not.

    Raises
    ------
    KoaError
        If the disk is full; `path` then is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except Exception as error:
        if _disk_full(error):
            raise KoaError(
                "The disk is full, or this account's share of it: the file was not written.",
                where=path,
                remedy="Free some space and go on; what was there before is intact.",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _disk_full(error: BaseException | None) -> bool:
    """True if an error or what led to it is a full disk; torch hides it in a chain, safetensors tells it in words."""
    if error is None:
        return False
    number = re.search(r"os error (\d+)", str(error))
    if getattr(error, "errno", None) in DISK_FULL or (number and int(number.group(1)) in DISK_FULL):
        return True
    return _disk_full(error.__cause__ or error.__context__)
