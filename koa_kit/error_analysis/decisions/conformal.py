"""Ranges of grades that hold the reader's grade as often as promised: ordinal conformal sets.

A set grows from the most likely grade towards the more probable neighbour until its mass exceeds a number found on
other knees (Lu, Angelopoulos and Pomerantz 2022, MICCAI, arXiv 2207.02238). The promise of split conformal prediction
needs no trust in the probabilities, but it is narrower than it sounds:

- it is marginal: over all knees, not for each grade. A rare or hard grade such as KL1 may be covered far less often
  than promised, and easy ones more often; see `conformal_table`.
- it is an average over the draw of calibration knees too: one calibration may lie some points off.
- it rests on exchangeable *patients*: a new one is like those of the calibration. The two knees of one patient are no
  independent draws. Where every patient has two, what n calibration knees promise still holds on average up to a factor
  (n + 1) / (n + 2), but a single calibration lies off by more than n independent knees would make it.
- it fails in another hospital, and where the probabilities were tuned on the knees that calibrate or are judged.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd

from koa_kit.error_analysis.arrays import checked_grades, checked_probabilities
from koa_kit.error_analysis.predictions import checked, grade_column, probabilities
from koa_kit.error_analysis.statistics.shares import share_with_interval
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES

LAST = GRADES[-1]


def mass_before(probabilities: np.ndarray) -> np.ndarray:
    """Mass of a knee's growing set when each grade joins it, float64 ``(N, 5)``, 0 to 1; ties go to the lower grade."""
    p = np.clip(checked_probabilities(probabilities), 0, None)
    rows = np.arange(len(p))
    walled = np.pad(p, ((0, 0), (1, 1)), constant_values=-1.0)
    low = high = p.argmax(1)
    before, mass = np.zeros_like(p), p[rows, low]
    for _ in GRADES[1:]:
        down = walled[rows, low] >= walled[rows, high + 2]
        low, high = low - down, high + ~down
        grade = np.where(down, low, high)
        before[rows, grade] = np.minimum(mass, 1)
        mass = mass + p[rows, grade]
    return before


def calibrate(probabilities: np.ndarray, kl: np.ndarray, coverage: float) -> float:
    """Mass, 0 to 1, that sets must exceed to hold the reader's grade of a new knee with probability `coverage`.

    It is the k-th smallest `mass_before` the readers' grades of the n calibration knees, k = ceil((n + 1) coverage):
    the finite-sample quantile ceil((n + 1)(1 - alpha)) / n of split conformal prediction. Where k is above n the knees
    are too few to promise anything less than all five grades, and the mass is 1.

    No set is empty, so a promise below the share of most likely grades that are right is exceeded. No set may be judged
    on the knees given here.
    """
    if not 0 < coverage < 1:
        raise KoaError(f"A coverage of {coverage!r} is none.", where="coverage", remedy="Give for example 0.9.")
    before = mass_before(probabilities)
    scores = np.sort(before[np.arange(len(before)), checked_grades(kl, len(before))])
    k = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(scores[k - 1]) if k <= len(scores) else 1.0


def conformal_sets(probabilities: np.ndarray, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest grade of each knee's set, int64 ``(N,)`` each, both inside; `quantile` is `calibrate`'s."""
    if not 0 <= quantile <= 1:
        raise KoaError(f"A mass of {quantile!r} is none.", where="quantile", remedy="Take it from calibrate().")
    inside = mass_before(probabilities) <= quantile
    return inside.argmax(1), LAST - inside[:, ::-1].argmax(1)


def calibration_half(patients: np.ndarray) -> np.ndarray:
    """Which knees calibrate, bool ``(N,)``: those of about half the patients, by a hash of the patient's name.

    Both knees of a patient go together, and the same patients are chosen on every machine, whatever others there are.
    """
    names, row = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    chosen = [hashlib.sha256(f"conformal calibration {name}".encode()).digest()[0] % 2 == 0 for name in names]
    return np.array(chosen, bool)[row]


@checked
def conformal_table(predictions: pd.DataFrame, coverage: float, *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Size and coverage of the sets per grade: calibrated on one half of the patients, judged on the other.

    Neither model nor decision may have been fitted on these knees. The bootstrap is over patients of the judged half,
    with the calibration as it is.

    Returns
    -------
    DataFrame
        Index ``grade``: "KL0" to "KL4" by the reader, then "all". Columns ``knees``; mean ``size`` of the sets in
        grades; ``single``, the share of sets of one grade; ``coverage``, the share that holds the reader's grade, and
        its 95 % interval ``low``, ``high``; ``promised``. nan for a grade no judged knee has. The promise is for "all".
    """
    p, kl, patient = probabilities(predictions), grade_column(predictions), predictions["patient"].to_numpy(str)
    return conformal_table_of(p, kl, patient, calibration_half(patient), coverage, draws=draws, seed=seed)


def conformal_table_of(
    p: np.ndarray,
    kl: np.ndarray,
    patient: np.ndarray,
    calibrating: np.ndarray,
    coverage: float,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """As `conformal_table`, from probabilities ``(N, 5)``, grades, patients and the calibrating half, ``(N,)`` each."""
    if calibrating.all() or not calibrating.any():
        what = f"The {len(np.unique(patient))} patients all fall into one half: none to calibrate, or to judge."
        raise KoaError(what, where="patient", remedy="Take predictions of more patients.")
    quantile = calibrate(p[calibrating], kl[calibrating], coverage)
    low, high = conformal_sets(p[~calibrating], quantile)
    kl, size = kl[~calibrating], high - low + 1
    held = (low <= kl) & (kl <= high)
    judged = pd.DataFrame({"patient": patient[~calibrating], "held": held, "size": size, "single": size == 1})
    groups, rows = {f"KL{grade}": judged[kl == grade] for grade in GRADES} | {"all": judged}, {}
    for name, knees in groups.items():
        interval = share_with_interval(knees["held"], knees["patient"], draws=draws, seed=seed)
        rows[name] = {"knees": len(knees)} | knees[["size", "single"]].mean().to_dict()
        rows[name] |= dict(zip(("coverage", "low", "high"), interval, strict=True)) | {"promised": coverage}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("grade")
