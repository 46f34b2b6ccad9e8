"""Made-up predictions: two knees a patient, a hidden severity that the reader and the model each see through noise."""

from collections.abc import Callable

import matplotlib
import numpy as np
import pandas as pd
import pytest


def made_up_predictions(patients=413, seed=0, noise=0.45, side_noise=0.25, sharpness=4.0) -> pd.DataFrame:
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
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        for grade in range(5):
            columns[f"s{grade}{view}"] = s[:, grade].astype(np.float32)
        for grade in range(5):
            columns[f"p{grade}{view}"] = p[:, grade].astype(np.float32)
        columns[f"pred{view}"] = s.argmax(1)
    return pd.DataFrame(columns)


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., pd.DataFrame]:
    """The generator itself, for other sizes and noise."""
    return made_up_predictions


@pytest.fixture
def predictions() -> pd.DataFrame:
    """120 knees of 60 patients, all five grades among them; a fresh copy a test."""
    return made_up_predictions(60, seed=3)


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
