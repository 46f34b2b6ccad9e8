"""A cohort so plain that a model learns it in seconds: the brighter the medial half, the higher the grade."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from koa_kit.cohort import Cohort


def bright_knees(patients: int = 60, size: int = 32, seed: int = 0) -> Cohort:
    """Knees whose grade is the brightness of one half: the left one in a right knee, the right one in a left knee."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for number in range(patients):
        split = "train" if number < patients * 0.6 else "val" if number < patients * 0.8 else "test"
        for side in "LR":
            kl = int(rng.integers(5))
            image = np.full((size, size), 60.0)
            image[:, : size // 2] += 35 * kl
            image = np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
            images.append(image if side == "R" else image[:, ::-1])
            knee = f"P{number:03d}{side}"
            rows.append((knee, f"P{number:03d}", side, split, kl, f"{split}/{kl}/{knee}.png", "", False))
    table = pd.DataFrame(rows, columns=["knee_id", "patient", "side", "split", "kl", "file", "sha256", "inverted"])
    pixels = np.stack(images)
    return Cohort("bright", pixels, table, hashlib.sha256(pixels.tobytes()).hexdigest()[:16])


@pytest.fixture
def make_knees():
    """The function that makes them, for a test that needs another number of patients."""
    return bright_knees


@pytest.fixture(scope="session")
def knees() -> Cohort:
    return bright_knees()


@pytest.fixture(scope="session")
def dataset(knees, tmp_path_factory):
    """The bright knees as a folder of files, which a worker can open by itself."""
    root = tmp_path_factory.mktemp("own") / "bright"
    for split in ("train", "val"):
        for kl in range(5):
            (root / split / str(kl)).mkdir(parents=True)
    for pixels, (split, kl, knee) in zip(knees.images, knees.table[["split", "kl", "knee_id"]].values, strict=True):
        if split != "test":
            Image.fromarray(pixels).resize((224, 224)).save(root / split / str(kl) / f"{knee}.png")
    return root
