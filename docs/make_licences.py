"""docs/licences.md: under which licence everything stands that the kit installs, ships or fetches."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from koa_kit import paths
from koa_kit.data.manifest import load_manifest
from koa_kit.engine.weights import LITE, MINILM, minilm_folder
from koa_kit.pretrained.names import pretrained_names

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
UNKNOWN = "not stated"
HEAD = """# Licences

The kit itself is Apache-2.0. Written by `make licences` from what packages, weights and the manifest say of themselves;
"not stated" where they say nothing. This is a list, not legal advice.
"""
TORCH = """On Linux torch brings NVIDIA's CUDA libraries, most of them proprietary, and Triton, as it needs them.
"""


def licence_of(name: str) -> str:
    """Licence of an installed package by its metadata; if they name none, how its licence file begins."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return f"{UNKNOWN}: not part of `[all]`, so not read here"
    facts = package.metadata
    text = (facts.get("License") or "").strip()
    kinds = [line.split(" :: ")[-1] for line in facts.get_all("Classifier") or () if line.startswith("License ::")]
    # some put the whole text where its name belongs
    named = text if "\n" not in text and len(text) < 60 and text.upper() != "UNKNOWN" else ""
    if found := facts.get("License-Expression") or named or ", ".join(kinds):
        return found
    for file in package.files or ():
        if re.match(r"licen[cs]e|copying", file.name, re.IGNORECASE):
            return f"{UNKNOWN}; its licence file begins “{file.read_text().strip().splitlines()[0].strip()}”"
    return UNKNOWN


def direct_names() -> set[str]:
    """Packages that pyproject.toml asks for, with every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"koa-kit"}


def page() -> str:
    """The whole text of `PAGE`; the versions are those of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    direct = {name: pins.get(name, "") for name in sorted(direct_names())}
    brought = {name: version for name, version in pins.items() if canonicalize_name(name) not in direct}
    tables = [
        _table((title, "version", "licence"), [(name, version, licence_of(name)) for name, version in rows.items()])
        for title, rows in (("asked for", direct), ("brought along", brought))
    ]
    return "\n".join([HEAD, "## Packages\n", *tables, TORCH, "## Weights\n", _weights(), "## Data\n", _data()])


def _weights() -> str:
    card = re.search("^license: (.+)$", (minilm_folder() / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    rows = [(each.file, f"package {each.package}", licence_of(each.package)) for each in (*LITE.values(), MINILM)]
    rows[-1] = (*rows[-1][:2], f"{rows[-1][2]}; the model card in it says {card[1] if card else UNKNOWN}")
    for name in pretrained_names():
        facts = json.loads((paths.PACKAGE / "pretrained" / name / "model.json").read_text(encoding="utf-8"))
        made = f"comes with the kit; begun from {facts['towers']}, trained on {facts['cohort']}"
        rows.append((name, made, f"{UNKNOWN} in its card; the kit is Apache-2.0, the knees have their own terms"))
    rows.append(("any `model:tag` of open_clip", "downloaded when asked for", f"{UNKNOWN} here: see its publisher"))
    return _table(("weights", "where from", "licence"), rows)


def _data() -> str:
    rows = [(name, entry.access, entry.licence) for name, entry in load_manifest().items()]
    return _table(("data set", "access", "licence, as data_manifest.yaml has it"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.strip() or '–' for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    with paths.replacing(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")
