"""Arrays that are computed once, kept, and mapped from then on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from koa_kit.paths import cache_dir, replacing


def cached_array(facts: dict, compute: Callable[[], np.ndarray], cache: str | Path | None = None) -> np.ndarray:
    """The array that `compute` gives, memory-mapped from the cache where these `facts` are known already.

    `facts` are all that the array depends on, as JSON can hold it; `cache` is as in `koa_kit.paths.cache_dir`. The file
    appears under its name only when complete; of several processes one computes, the others wait.
    """
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    path = cache_dir(cache) / "features" / f"{key}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                array = compute()
                with replacing(path) as temporary:
                    np.save(temporary, array)
    return np.load(path, mmap_mode="r")
