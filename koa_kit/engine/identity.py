"""What a run was begun on: the mark by which the kit knows its own, and by which another run is told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from koa_kit.configuration import read_json
from koa_kit.errors import KoaError
from koa_kit.paths import replacing

IDENTITY = "state/run.json"


def clear_state(folder: Path) -> None:
    """Remove what only a run under way needs."""
    shutil.rmtree(folder / "state", ignore_errors=True)


def write_identity(folder: Path, facts: dict) -> None:
    """Write down what a run was begun on, apart from its choices."""
    with replacing(folder / IDENTITY) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_identity(folder: str | Path) -> dict:
    """What `write_identity` wrote; of a finished run what its checkpoint remembers of it, of none an empty record."""
    kinds = {"cohort": str, "cohort_fingerprint": str, "processes": int}
    for name in (IDENTITY, "model.json"):
        if (path := Path(folder) / name).is_file():
            record = read_json(path)
            facts = {key: record[key] for key in kinds if key in record}
            if not all(isinstance(value, kinds[key]) for key, value in facts.items()):
                raise KoaError("What a run was begun on is not what the kit writes.", where=path)
            return facts
    return {}


def refuse_other_run(folder: Path, there: dict, asked: dict) -> None:
    """Raise `KoaError` naming every difference between what a run was begun with and what is asked."""
    said = (f"{name}: {there[name]!r} there, {asked[name]!r} asked" for name in there if there[name] != asked[name])
    if differing := "; ".join(said):
        raise KoaError(
            "The run cannot be resumed: it was begun otherwise.",
            where=differing,
            remedy=f"Resume {folder} with the same choices, give this run another name, or leave --resume out to begin "
            "anew.",
        )


def clear_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Remove what a killed process was writing under these names."""
    for name in names:
        for part in folder.glob(f".{name}.*"):
            part.unlink()
