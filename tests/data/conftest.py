"""A small published data set: thirty synthetic knees under hashes of their own, in place of oai-kl224."""

import shutil
from pathlib import Path

import pytest
from knee_files import publish

from koa_kit.data import manifest


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """Folder with every file of a small data set ``oai-kl224``; the manifest is changed to list just these."""
    source = publish(tmp_path)
    monkeypatch.setattr(manifest, "HASHES", tmp_path)
    monkeypatch.setattr(manifest.paths, "resource", lambda name: tmp_path / name)
    return source


@pytest.fixture
def data_home(published, tmp_path, monkeypatch) -> Path:
    """Data folder, set as ``KOA_DATA_DIR``, that holds the small data set without its test split."""
    home = tmp_path / "home"
    for split in ("train", "val"):
        shutil.copytree(published / split, home / "oai-kl224" / split)
    monkeypatch.setenv("KOA_DATA_DIR", str(home))
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path / "cache"))
    return home
