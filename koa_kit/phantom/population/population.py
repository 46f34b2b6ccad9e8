"""A population of synthetic patients: two knees each, later visits, and three readers who do not always agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from scipy.special import ndtr, ndtri

from koa_kit.cohort import MONTHS
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.phantom.knee.features import kl_grades
from koa_kit.phantom.population.sampling import MOST_SEVERE, sample_habit, sample_signs, signs_at
from koa_kit.phantom.readers.readers import consensus, consensus_probabilities, reading_errors, readings

SHARES = {
    "teaching": (0.24, 0.20, 0.22, 0.20, 0.14),
    "oai": (0.396, 0.181, 0.262, 0.131, 0.030),
    "balanced": (0.2, 0.2, 0.2, 0.2, 0.2),
}
"""Shares of KL0 to KL4: flat, so that a small cohort holds every grade; those of oai-kl224's train split; all alike."""

VISITS = tuple(MONTHS.values())
"""Months after the first visit at which knees are filmed, as in the OAI."""

# Correlation of the severity of two knees, and the share of patients whose knees differ by chance, as after an injury.
LIKENESS, ONE_SIDED = 0.99, 0.4
# Median gain in severity in four years, and how unevenly patients share it (standard deviation of its logarithm).
PROGRESSION, UNEVENNESS = 0.13, 1.3
INVERTED_SHARE, MARKER_SHARE = 0.015, 0.03
FEMALE_SHARE = 0.58
SITES_OF_STUDY = {"A": 0.3, "B": 0.25, "C": 0.2, "D": 0.15, "E": 0.1}


def sample_population(
    patients: int,
    *,
    seed: int = 0,
    shares: str | Sequence[float] = "teaching",
    months: int = 0,
    asymmetry: float = 0.0,
    shortcut: float = 0.0,
) -> pd.DataFrame:
    """Table of ``2 * patients`` synthetic knees, one row per knee, the same for the same arguments.

    A patient's two knees are alike in severity, but in some patients they have nothing in common. The disease goes on
    at the patient's own pace, hardly at all in most, and never back. Each of the `READERS` errs in her own way, and
    her errors stay with the knee, as if its films were read side by side, so no grade ever falls.

    Parameters
    ----------
    patients, seed
        Number of patients, at least 1, and what decides everything that is left to chance. Calls that differ in
        `months` alone describe the same patients.
    shares
        Expected share of the consensus grades KL0 to KL4 at the first visit: a name among `SHARES`, or five numbers
        that sum to 1. What no mix of severities can give, such as KL1 and nothing else, is met as nearly as possible.
    months
        The visit the table describes, one of `VISITS`.
    asymmetry
        0 to 1: share of the patients whose right knee is chosen to be the worse one (by consensus grade at the first
        visit, then by severity); in the others chance decides. Only sides are exchanged, never knees.
    shortcut
        0 to 1: how far the lead marker gives the grade away. At 0, 3 % of knees have one, whatever their grade; above,
        a knee with ``kl`` >= 2 has one with probability ``0.5 + 0.5 * shortcut``, another with one minus that.

    Returns
    -------
    DataFrame
        Two rows a patient, left knee first, with the columns

        - ``knee_id`` ("P00000L"), ``patient``, ``side`` ("L" or "R"), ``split``: 60 / 20 / 20 evenly over severity;
        - ``age`` in years (45 to 79 at first), ``sex`` ("F", "M"), ``bmi`` in kg/m2, weakly associated with severity;
          ``site`` "A" to "E", which is not; ``inverted``: bone dark in the file, for about 1.5 % of the patients;
        - ``kl``: the consensus, which is the median of the readers' grades ``reader_A``, ``reader_B``, ``reader_C``;
          ``kl_rules``: `kl_grades` of the true signs;
        - the fields of `Signs`;
        - ``kl_12`` and so on: consensus at every visit later than `months`;
        - ``draw_seed``: below 2**31, for the picture; ``marker``: a lead marker lies in the corner of the film.

    An argument outside its range is a `KoaError`.
    """
    if patients < 1:
        raise KoaError(f"A population of {patients} patients has no knees.", remedy="Give at least 1.")
    if months not in VISITS:
        raise KoaError(f"There is no visit at {months} months.", remedy=f"Choose from {', '.join(map(str, VISITS))}.")
    for name, value in {"asymmetry": asymmetry, "shortcut": shortcut}.items():
        if not 0 <= value <= 1:
            raise KoaError(f"{name} is {value}.", remedy="Give a number from 0 to 1.")
    weights = band_weights(shares_of(shares))

    # One stream of chance a topic, so that a draw more in one does not shift the others.
    disease, habits, reading, people, films, sides = np.random.default_rng(seed).spawn(6)
    scores = _severity_scores(patients, disease)
    pace = np.repeat(PROGRESSION / 48 * np.exp(UNEVENNESS * disease.standard_normal(patients)), 2)
    steps = np.concatenate([[0.0], np.cumsum(weights)])
    severity = np.interp(ndtr(scores).ravel(), steps / steps[-1], np.arange(len(steps)))
    one = sample_habit(patients, habits)
    other = sample_habit(patients, habits, other_knee=one)
    habit = pd.concat([one, other]).sort_index(kind="stable")
    errors = reading_errors(2 * patients, reading)

    def visit(month: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
        signs = signs_at(np.minimum(severity + pace * month, MOST_SEVERE), habit)
        grades = readings(signs, errors)
        return signs, grades, consensus(grades)

    signs, grades, kl = visit(months)
    first = visit(0)[2] if months else kl
    later = {f"kl_{month}": visit(month)[2] for month in VISITS if month > months}
    draw_seed, chance = films.integers(2**31, size=2 * patients), films.random(2 * patients)
    gives_away = np.where(kl >= 2, 0.5 + 0.5 * shortcut, 0.5 - 0.5 * shortcut)
    film = {"draw_seed": draw_seed, "marker": chance < (gives_away if shortcut else MARKER_SHARE)}
    graded = pd.DataFrame({"kl": kl, "kl_rules": kl_grades(signs)})
    knees = pd.concat([graded, grades, signs, pd.DataFrame(later | film)], axis=1)
    knees = knees.iloc[_left_then_right(first, severity, asymmetry, sides)].reset_index(drop=True)

    owners = _people(scores.mean(axis=1), people)
    owners["age"] += months // 12
    owners = owners.loc[owners.index.repeat(2)].reset_index(drop=True)
    owners.insert(1, "side", ["L", "R"] * patients)
    owners.insert(0, "knee_id", owners["patient"] + owners["side"])
    return pd.concat([owners, knees], axis=1)


def shares_of(shares: str | Sequence[float]) -> tuple[float, ...]:
    """The five shares behind a name of `SHARES`, or `shares` itself; `KoaError` unless five that sum to 1."""
    if isinstance(shares, str):
        if shares not in SHARES:
            raise KoaError(f"There are no shares {shares!r}.", remedy=f"Choose from {', '.join(SHARES)}.")
        return SHARES[shares]
    given = np.asarray(shares)
    numbers = given.shape == (len(GRADES),) and given.dtype.kind in "iuf"
    if not numbers or not (given >= 0).all() or not math.isclose(given.sum(), 1, abs_tol=1e-6):
        remedy = f"For example {SHARES['teaching']}, or one of the names {', '.join(SHARES)}."
        raise KoaError(f"The shares {shares!r} are not five that sum to 1.", remedy=remedy)
    return tuple(given.tolist())


@lru_cache(maxsize=1)
def grades_by_band() -> np.ndarray:
    """Share of each consensus grade among 4,000 knees of severity 0 to 1, 1 to 2, ..., 4 to 5, ``(5, 5)``."""
    rng = np.random.default_rng(0)
    bands = [consensus_probabilities(sample_signs(band + rng.random(4000), rng)).mean(axis=0) for band in GRADES]
    return np.round(bands, 4)


def band_weights(shares: tuple[float, ...]) -> np.ndarray:
    """Share of the severities 0 to 1, 1 to 2, ..., 4 to 5 that gives these shares of consensus grades, ``(5,)``."""
    weights, _ = nnls(grades_by_band().T, np.asarray(shares))
    # To four decimals: results must not depend on the last bit of a solver.
    return np.round(weights / weights.sum(), 4)


def _severity_scores(patients: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal score of severity of each patient's two knees, ``(patients, 2)``, in random order."""
    # Evenly spaced quantiles, in random order: even a small population meets its shares.
    shared = ndtri((rng.permutation(patients) + 0.5) / patients)
    own = rng.standard_normal((patients, 2))
    # The square root makes LIKENESS the correlation between the knees.
    scores = LIKENESS**0.5 * shared[:, None] + (1 - LIKENESS) ** 0.5 * own
    one_sided = rng.random(patients) < ONE_SIDED
    scores[one_sided, 0], scores[one_sided, 1] = own[one_sided, 0], shared[one_sided]
    return scores


def _left_then_right(kl: np.ndarray, severity: np.ndarray, asymmetry: float, rng: np.random.Generator) -> np.ndarray:
    """Row numbers that put the knee to become the left one first in each patient's pair of rows."""
    kl, severity = kl.reshape(-1, 2), severity.reshape(-1, 2)
    second_is_worse = (kl[:, 1] > kl[:, 0]) | ((kl[:, 1] == kl[:, 0]) & (severity[:, 1] > severity[:, 0]))
    chosen, coin = rng.random((2, len(kl)))
    keep = np.where(chosen < asymmetry, second_is_worse, coin < 0.5)
    pairs = np.where(keep[:, None], [0, 1], [1, 0])
    return (2 * np.arange(len(kl))[:, None] + pairs).ravel()


def _people(score: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """One row a patient: name, split, age at the first visit, sex, BMI, site, whether the films are inverted."""
    patients = len(score)
    normal = rng.standard_normal((3, patients))
    age = 45 + 35 * ndtr((0.3 * score + normal[0]) / 1.04)
    inverted = np.zeros(patients, bool)
    inverted[rng.permutation(patients)[: math.ceil(INVERTED_SHARE * patients) if patients >= 10 else 0]] = True
    return pd.DataFrame(
        {
            "patient": [f"P{number:05d}" for number in range(patients)],
            "split": _splits(score, rng),
            "age": np.minimum(age, 79).astype(int),
            "sex": np.where(normal[1] + 0.1 * score < ndtri(FEMALE_SHARE), "F", "M"),
            "bmi": np.round(np.clip(28 * np.exp(0.16 * (0.25 * score + normal[2])), 17, 50), 1),
            "site": rng.choice(list(SITES_OF_STUDY), patients, p=list(SITES_OF_STUDY.values())),
            "inverted": inverted,
        }
    )


def _splits(severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Split of each patient: of any five neighbours in severity three train, one val, one test."""
    splits = np.empty(len(severity), object)
    order = np.argsort(severity, kind="stable")
    for block in np.split(order, range(5, len(order), 5)):
        splits[block] = rng.permutation(["train", "val", "test", "train", "train"][: len(block)])
    return splits
