"""Arrays that are computed once, kept, and mapped from then on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from koa_kit.engine.scratch import scratch_folder
from koa_kit.engine.seals import seal, unbroken
from koa_kit.errors import KoaError
from koa_kit.paths import cache_dir, replacing


def cached_array(facts: dict, compute: Callable[[], np.ndarray], cache: str | Path | None = None) -> np.ndarray:
    """The array that `compute` gives, memory-mapped from the cache where these `facts` are known already.

    `facts` are all that the array depends on, as JSON can hold it; `cache` is as in `koa_kit.paths.cache_dir`. The file
    appears under its name only when complete; of several processes one computes, the others wait. One that was changed
    or damaged since is computed again. Raises `KoaError` if the cache cannot be written.
    """
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    home = cache_dir(cache) / "features"
    path = home / f"{key}.npy"
    sealed = path.with_suffix(".json")
    try:
        if not unbroken(sealed, [path]):
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not unbroken(sealed, [path]):
                    array = compute()
                    with scratch_folder(home, ".*") as work:
                        with replacing(path, work) as temporary:
                            np.save(temporary, array, allow_pickle=False)
                        seal(sealed, [path], work)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise KoaError(
            f"The cache of features cannot be used: {error.strerror or error}.",
            where=error.filename or home,
            remedy="Free some space, or set KOA_CACHE_DIR to a folder that you may write to.",
        ) from error
