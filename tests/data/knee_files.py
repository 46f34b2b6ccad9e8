"""Small synthetic radiograph files for the tests of the data room: no anatomy, just a bright bar on a darker ground."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from koa_kit import paths

SIZE = 32


def bright_knee(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """uint8 square, bright in the middle and dark at the left and right borders, with noise from `seed`."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(30, 60, (size, size))
    pixels[:, size // 4 : -size // 4] += 120
    return pixels.astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """The path, after writing `pixels` there as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def knee_tree(root: Path, splits=("train", "val"), patients: int = 3, size: int = SIZE) -> Path:
    """Folder `root` in the layout split/grade/<patient><L|R>.png, every grade folder there, two knees a patient."""
    for number, split in enumerate(splits):
        for kl in range(5):
            (root / split / str(kl)).mkdir(parents=True, exist_ok=True)
        for patient in range(patients):
            for side in "LR":
                seed = 1000 * number + 10 * patient + (side == "R")
                file = root / split / str((patient + (side == "R")) % 5) / f"{split.upper()}{patient:02d}{side}.png"
                save(file, bright_knee(seed, size))
    return root


def publish(home: Path) -> Path:
    """Folder with every file of a small data set ``oai-kl224``: thirty knees in train, val and test.

    The manifest that lists just these, ``data_manifest.yaml``, and their hashes lie in `home`.
    """
    source = knee_tree(home / "published", splits=("train", "val", "test"), patients=5)
    files = sorted(source.rglob("*.png"))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(source).as_posix()}\n" for file in files
    ]
    text = "".join(lines).encode()
    (home / "small.sha256.gz").write_bytes(gzip.compress(text, mtime=0))
    content = yaml.safe_load(paths.resource("data_manifest.yaml").read_text(encoding="utf-8"))
    content["datasets"]["oai-kl224"] |= {
        "hashes": "small.sha256.gz",
        "fingerprint": hashlib.sha256(text).hexdigest()[:16],
        "counts": {split: [2] * 5 for split in ("train", "val", "test")},
        "pixels": {"mode": "L", "bits": 8, "size": [SIZE, SIZE], "inverted": {}},
    }
    (home / "data_manifest.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return source
