"""A small published data set: thirty synthetic knees under hashes of their own, in place of oai-kl224."""

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
import yaml
from knee_files import SIZE, knee_tree

from koa_kit import paths
from koa_kit.data import manifest


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """Folder with every file of a small data set ``oai-kl224``; the manifest is changed to list just these."""
    source = knee_tree(tmp_path / "published", splits=("train", "val", "test"), patients=5)
    files = sorted(source.rglob("*.png"))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(source).as_posix()}\n" for file in files
    ]
    text = "".join(lines).encode()
    (tmp_path / "small.sha256.gz").write_bytes(gzip.compress(text, mtime=0))
    content = yaml.safe_load(paths.resource("data_manifest.yaml").read_text(encoding="utf-8"))
    content["datasets"]["oai-kl224"] |= {
        "hashes": "small.sha256.gz",
        "fingerprint": hashlib.sha256(text).hexdigest()[:16],
        "counts": {split: [2] * 5 for split in ("train", "val", "test")},
        "pixels": {"mode": "L", "bits": 8, "size": [SIZE, SIZE], "inverted": {}},
    }
    (tmp_path / "data_manifest.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
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
