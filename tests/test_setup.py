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

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def direct_requirements():
    """Requirements `.[all]` brings in, the extras it names included."""
    names = Requirement(EXTRAS["all"][0]).extras
    lines = PROJECT["dependencies"] + [line for name in sorted(names) for line in EXTRAS[name]]
    return [Requirement(line) for line in lines]


def pin_lines():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins():
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in pin_lines()}


def test_every_dependency_is_pinned_at_a_version_that_satisfies_its_floor():
    pinned = pins()
    assert len(direct_requirements()) > 25
    for requirement in direct_requirements():
        found = pinned.get(canonicalize_name(requirement.name))
        assert found, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(found), f"{requirement} is pinned at {found}"


def test_every_dependency_has_a_floor_and_stands_once():
    everything = [*direct_requirements(), *map(Requirement, EXTRAS["kaggle"])]
    names = [canonicalize_name(requirement.name) for requirement in everything]
    assert sorted(set(names)) == sorted(names)
    assert [str(each) for each in everything if not re.match(r"(>=|==)\d", str(each.specifier))] == []


def test_constraints_name_exact_versions_and_no_package_twice():
    assert [line for line in pin_lines() if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert len(pins()) == len(pin_lines())


def test_the_running_environment_is_the_pinned_one():
    names = [canonicalize_name(requirement.name) for requirement in direct_requirements()]
    assert {name: version(name) for name in names} == {name: pins()[name] for name in names}


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


@pytest.mark.parametrize("goal", ["run", "test", "lab", "lint", "format", "clean"])
def test_make_knows_the_goals_the_readme_names(goal):
    result = subprocess.run([shutil.which("make"), "-n", goal], cwd=ROOT, capture_output=True, text=True)
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


def test_importing_the_kit_loads_nothing_heavy():
    code = "import sys, koa_kit; print([m for m in ('torch', 'pandas', 'matplotlib', 'papermill') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
