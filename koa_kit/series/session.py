"""The frame of a notebook: its set-up cell, its "What we saw" bullets, and the ``results.json`` of its last cell."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from koa_kit import paths
from koa_kit.cohort import Cohort
from koa_kit.data import load_cohort, load_manifest
from koa_kit.errors import KoaError
from koa_kit.style import quieten, use_style
from koa_kit.versions import installed_versions

SCALES = ("smoke", "laptop", "full")
SHOWN_VERSIONS = ("koa_kit", "torch", "open_clip_torch", "numpy")


@dataclass(frozen=True)
class NotebookSession:
    """Settings of a notebook, and the folder for its results; see `begin`.

    `data_dir` is ``None`` for the usual place. `device` is "cpu" or "cuda"; always "cpu" at smoke scale, so that
    everybody sees the same numbers.
    """

    dataset: str
    scale: str
    seed: int
    data_dir: Path | None
    out_dir: Path
    device: str = "cpu"
    _fingerprints: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def cohort(self, **options) -> Cohort:
        """Cohort of the data set; printed with its fingerprint the first time. `options` go to `load_cohort`."""
        cohort = load_cohort(self.dataset, data_dir=self.data_dir, **{"seed": self.seed, **options})
        if cohort.fingerprint not in self._fingerprints:
            print(f"{cohort}\nfingerprint {cohort.fingerprint}")
        self._fingerprints.append(cohort.fingerprint)
        return cohort

    def bullet(self, text: str) -> None:
        """Print one line of "What we saw"; the numbers in it are computed, never typed."""
        print(f"• {text}")

    def finish(self, notebook: str, **claims) -> None:
        """Write ``out_dir/<notebook>/results.json``: the numbers the notebook claims, and what they depend on.

        Claims are finite numbers, texts, lists or dicts of them; numpy's and pandas' are taken as well. The fingerprint
        is that of the last cohort, "" if there was none. Raises `KoaError`, and writes nothing, if there is no
        claim or one is not finite or not plain data.
        """
        if not claims:
            raise KoaError("A notebook must claim something.", where=notebook, remedy="Pass the numbers it shows.")
        results = {
            "notebook": notebook,
            "dataset": self.dataset,
            "scale": self.scale,
            "seed": self.seed,
            "fingerprint": self._fingerprints[-1] if self._fingerprints else "",
            "versions": installed_versions(),
            "claims": {name: _plain(value, f"{notebook}, claim {name}") for name, value in claims.items()},
        }
        path = Path(self.out_dir) / notebook / "results.json"
        with paths.replacing(path) as temporary:
            temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{len(claims)} results kept in {path.parent.name}/{path.name}")


def begin(
    dataset: str, scale: str, seed: int, data_dir: str | os.PathLike = "", out_dir: str | os.PathLike = "build/results"
) -> NotebookSession:
    """Session with these settings; the seed and the figure style are set, versions and device are printed.

    `dataset` is the name of a data set in the manifest, or a folder of one's own; `scale` is "smoke", "laptop" or
    "full"; `seed`, 0 to 2**32 - 1, is that of Python's, numpy's and torch's global random numbers. `data_dir` holds the
    data sets, where "" is the usual place; ``<notebook>/results.json`` goes into `out_dir`. Raises `KoaError` if the
    data set or the scale is unknown or the seed is not a whole number.
    """
    import numpy as np
    import pandas as pd
    import torch

    check_settings(dataset, scale, seed)
    quieten()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that draw from the global state must repeat themselves too
    torch.manual_seed(seed)
    use_style()
    pd.set_option("display.max_colwidth", None)  # a prompt that ends in dots teaches nothing
    device = "cuda" if scale != "smoke" and torch.cuda.is_available() else "cpu"
    versions = installed_versions(SHOWN_VERSIONS).items()
    print(" · ".join(f"{name.removesuffix('_torch')} {number}" for name, number in versions))
    print(f"device {device} · {os.cpu_count()} cores · data set {dataset} · scale {scale} · seed {seed}")
    folder = Path(data_dir).expanduser() if data_dir else None
    return NotebookSession(dataset, scale, seed, folder, Path(out_dir), device)


def check_settings(dataset: str, scale: str, seed: int) -> None:
    """Raise `KoaError` if the data set is neither known nor a folder, or the scale or the seed does not exist."""
    if not Path(dataset).is_dir():
        load_manifest()[dataset]
    if scale not in SCALES:
        raise KoaError(f"There is no scale {scale!r}.", where="SCALE", remedy=f"Choose from {', '.join(SCALES)}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise KoaError(f"The seed {seed!r} is no whole number from 0 to 4294967295.", where="SEED")


def _plain(value, where: str):
    """`value` in the types of JSON."""

    def unwrap(value):
        return value.to_dict() if hasattr(value, "to_dict") else value.tolist()

    try:
        return json.loads(json.dumps(value, allow_nan=False, default=unwrap))
    except (AttributeError, TypeError, ValueError) as error:
        remedy = "Claim finite numbers, texts, lists or dicts."
        raise KoaError(f"{value!r} cannot be kept as a result.", where=where, remedy=remedy) from error
