"""How near do phantom radiographs come to real ones? Grey levels, power spectrum, and what a classifier can tell."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data import load_cohort
from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.phantom import phantom_cohort
from koa_kit.training.views import Progress, embed_cohort

LEVELS = 256
FREQUENCIES = (3, 90)
"""Range in which the spectrum's slope is fitted, in cycles an image."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What the measures need of every image: halves are halves of `groups`, the patients ``(N,)``.

    Share of every grey level, float64 ``(N, 256)``; power at every whole spatial frequency, averaged over directions,
    float64 ``(N, size / 2)``.
    """

    histograms: np.ndarray
    spectra: np.ndarray
    groups: np.ndarray


def looks(images: np.ndarray, patients: np.ndarray) -> Looks:
    """Histograms and power spectra of square images uint8 ``(N, size, size)``.

    A Hann window hides the images' borders from the spectrum.
    """
    if len(images) != len(patients) or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise KoaError("Images must be square, one patient each.", where=f"{images.shape}, {len(patients)} patients")
    size = images.shape[1]
    window = np.outer(np.hanning(size), np.hanning(size))
    rows, columns = np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size
    ring = np.hypot(rows[:, None], columns).round().astype(int).ravel()
    # The half that rfft leaves out mirrors these columns.
    weight = np.broadcast_to(np.where((columns == 0) | (columns == size / 2), 1.0, 2.0), (size, len(columns))).ravel()
    counts = np.bincount(ring, weight)
    histograms, spectra = [], []
    for image in images:
        histograms.append(np.bincount(image.ravel(), minlength=LEVELS) / image.size)
        grey = image / 255.0
        power = np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
        spectra.append((np.bincount(ring, weight * power.ravel()) / counts)[: size // 2])
    return Looks(np.array(histograms), np.array(spectra), np.asarray(patients))


def histogram_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Earth mover's distance of the mean histograms of two sets ``(N, 256)``, in grey levels of 0 to 255."""
    return float(np.abs(np.cumsum(one.mean(axis=0) - other.mean(axis=0))).sum())


def spectrum_slope(spectra: np.ndarray) -> float:
    """Exponent of the power law that fits the mean spectrum of a set ``(N, size / 2)``: about -3 for knees.

    Fitted over `FREQUENCIES` by least squares of the logarithms.
    """
    frequencies = np.arange(FREQUENCIES[0], min(FREQUENCIES[1], spectra.shape[1]))
    return float(np.polyfit(np.log(frequencies), np.log(spectra.mean(axis=0)[frequencies]), 1)[0])


def realism(real: Looks, phantom: Looks, *, halvings: int = 50, seed: int = 0) -> pd.DataFrame:
    """Table of two measures: how far phantoms lie from real knees, and how far two halves of the real ones do.

    The yardstick is the mean distance of random halves of the real patients. Index ``histogram distance`` (grey
    levels) and ``spectrum slope``; columns ``real`` and ``phantom`` (the slopes; nan for the distance), ``apart``
    (phantom against real), ``halves`` (mean between two halves of the real knees), ``ratio`` (apart / halves; 1 is as
    near as real knees are to each other).
    """
    rng = np.random.default_rng(seed)
    patients = np.unique(real.groups)
    if len(patients) < 4:
        raise KoaError(f"{len(patients)} real patients have no halves to compare.", remedy="Give at least 4.")
    histogram, slope = [], []
    for _ in range(halvings):
        one = np.isin(real.groups, rng.permutation(patients)[: len(patients) // 2])
        histogram.append(histogram_distance(real.histograms[one], real.histograms[~one]))
        slope.append(abs(spectrum_slope(real.spectra[one]) - spectrum_slope(real.spectra[~one])))
    slopes = spectrum_slope(real.spectra), spectrum_slope(phantom.spectra)
    rows = {
        "histogram distance": (np.nan, np.nan, histogram_distance(real.histograms, phantom.histograms), histogram),
        "spectrum slope": (*slopes, abs(slopes[0] - slopes[1]), slope),
    }
    table = pd.DataFrame(
        {name: (first, second, apart, np.mean(halves)) for name, (first, second, apart, halves) in rows.items()},
        index=["real", "phantom", "apart", "halves"],
    ).T
    return table.assign(ratio=table["apart"] / table["halves"])


def domain_auc(real: np.ndarray, phantom: np.ndarray, real_groups: np.ndarray, phantom_groups: np.ndarray) -> float:
    """Area under the curve of a linear classifier that tells phantoms from real knees by these features ``(N, D)``.

    Logistic regression on standardised features, cross-validated over patients in five folds: 0.5 is "cannot tell", 1
    is "always can".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.concatenate([real, phantom])
    synthetic = np.repeat([0, 1], [len(real), len(phantom)])
    groups = np.concatenate([np.char.add("r", real_groups.astype(str)), np.char.add("p", phantom_groups.astype(str))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    folds = GroupKFold(5)
    chance = cross_val_predict(model, features, synthetic, groups=groups, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(synthetic, chance))


def compare_with_real(
    dataset: str = "oai-kl224",
    *,
    knees: int = 1000,
    towers: str = "lite0-minilm",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, float]:
    """Measures of `realism`, and the AUC of `domain_auc` on a tower's features.

    Real knees are those of a train split, phantoms have the same shares of the grades: of either kind `knees`, whole
    patients, or fewer where there are not as many. The classifier sees the image features of the towers, which are not
    trained here.
    """
    if knees < 20:
        raise KoaError(f"{knees} knees are too few to compare.", remedy="Give at least 20.")
    real = load_cohort(dataset, data_dir=data_dir, splits=["train"])
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(real.table["patient"].unique())[: knees // 2]
    real = real.take(np.flatnonzero(real.table["patient"].isin(chosen)))
    shares = np.bincount(real.table["kl"], minlength=5) / len(real)
    synthetic = phantom_cohort(len(chosen), size=real.images.shape[1], seed=seed, shares=tuple(shares))
    patients = [cohort.table["patient"].to_numpy(str) for cohort in (real, synthetic)]
    table = realism(looks(real.images, patients[0]), looks(synthetic.images, patients[1]), seed=seed)
    model = build_model(towers=towers, image_size=0 if towers == "koa-tiny" else 128, locked=("image", "text"))
    return table, domain_auc(*(_features(model, cohort, progress) for cohort in (real, synthetic)), *patients)


def _features(model, cohort: Cohort, progress: Progress | None) -> np.ndarray:
    return np.asarray(embed_cohort(model, cohort, cache=False, progress=progress)[:, 0])
