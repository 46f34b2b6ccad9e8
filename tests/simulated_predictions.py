"""Simulated predictions: two knees per patient, a hidden severity that reader and model each see through noise."""

from collections.abc import Callable

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax


def simulate_predictions(patients=413, seed=0, noise=0.45, side_noise=0.25, sharpness=4.0) -> pd.DataFrame:
    """Predictions of `2 * patients` knees, with grade shares like those of the OAI and KL1 the hardest grade."""
    rng = np.random.default_rng(seed)
    n = 2 * patients
    severity = np.repeat(rng.normal(0, 0.8, patients), 2) + rng.normal(0, 0.6, n)
    kl = np.digitize(severity, np.quantile(severity, [0.40, 0.585, 0.84, 0.967]))
    seen = kl + rng.normal(0, noise, n) + np.where(kl == 1, rng.choice([-0.5, 0.4], n), 0)
    columns = {
        "knee_id": [f"{9_000_000 + row // 2}{'LR'[row % 2]}" for row in range(n)],
        "patient": [str(9_000_000 + row // 2) for row in range(n)],
        "side": ["LR"[row % 2] for row in range(n)],
        "split": "val",
        "kl": kl.astype(np.int64),
        "file": [f"val/{grade}/{9_000_000 + row // 2}{'LR'[row % 2]}.png" for row, grade in enumerate(kl)],
        "inverted": False,
    }
    for view in ("", "_flip"):
        s = -sharpness * abs(seen[:, None] + rng.normal(0, side_noise, (n, 1)) - np.arange(5)) + rng.normal(
            0, 0.3, (n, 5)
        )
        for letter, values in (("s", s), ("p", softmax(s, axis=1))):
            columns |= {f"{letter}{grade}{view}": values[:, grade].astype(np.float32) for grade in range(5)}
        columns[f"pred{view}"] = s.argmax(1)
    return pd.DataFrame(columns)


def trained(knees: pd.DataFrame, seed, wrong: float = 0.3) -> pd.DataFrame:
    """`knees` with a share of them, other ones for each seed, graded one grade off."""
    off = np.random.default_rng(seed).random(len(knees)) < wrong
    return knees.assign(pred=np.where(off, (knees["kl"] + 1) % 5, knees["kl"]))


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., pd.DataFrame]:
    """The generator itself, for other sizes and noise."""
    return simulate_predictions


@pytest.fixture
def predictions() -> pd.DataFrame:
    """120 knees of 60 patients, all five grades among them; a fresh copy a test."""
    return simulate_predictions(60, seed=3)


@pytest.fixture
def images(predictions) -> np.ndarray:
    """A noise image a knee, brighter to the right, so that a mirror image can be told from it."""
    noise = np.random.default_rng(0).integers(0, 60, (len(predictions), 64, 64))
    return (noise + np.linspace(0, 190, 64)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _no_screen():
    with matplotlib.rc_context():
        matplotlib.use("Agg")
        yield
        import matplotlib.pyplot as plt

        plt.close("all")
