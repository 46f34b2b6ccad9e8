"""Knees drawn at random: a severity, a habit in which the disease shows, and the signs that follow from both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, RANGES, SITES, KneeFeatures, kl_grades
from koa_kit.phantom.knee.records import ALIKE, Build, Exposure, like_the_other, sample_build, sample_exposure

# Severity runs from 0 to this; between k and k + 1 the typical knee has KL grade k.
MOST_SEVERE = 5.0
# Share of knees whose disease sits on the medial side.
MEDIAL_SHARE = 0.7
# The course of each sign in a knee where none runs ahead: straight lines between these severities.
_SEVERITY = (-2.0, 0.5, 1.0, 1.5, 2.5, 3.5, 4.0, 4.5, 6.0)
_COURSE = {
    "width": (6.2, 4.4, 4.1, 3.75, 3.2, 2.0, 1.1, 0.5, 0.0),
    "osteophytes": (0.0, 0.05, 0.2, 0.65, 1.55, 2.1, 2.5, 2.8, 3.0),
    "sclerosis": (0.0, 0.1, 0.2, 0.3, 0.7, 1.7, 2.5, 2.8, 3.0),
    "deformity": (0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 1.7, 2.2, 3.0),
    "spiking": (0.0, 0.1, 0.3, 0.6, 1.1, 1.7, 2.1, 2.5, 3.0),
    "bend": (0.0, 0.0, 0.02, 0.05, 0.15, 0.4, 0.7, 1.0, 1.3),
}
_VARUS_DEG, _VALGUS_DEG = -7.0, 5.0
_NARROWEST_MM, _WIDEST_MM = 0.1, 6.8

# Mean and standard deviation among knees. A lead is by how much a sign runs ahead of the knee's severity; leads are
# independent, so that one knee narrows without osteophytes and the next does the reverse.
_AMONG_KNEES = {
    "width_lead": (0.0, 0.6),
    "osteophytes_lead": (0.0, 0.4),
    "sclerosis_lead": (0.0, 0.4),
    "deformity_lead": (0.0, 0.4),
    "spiking_lead": (0.0, 0.7),
    "spared_mm": (4.5, 0.7),  # width of the spared compartment in health, medial scale
    "healthy_valgus_deg": (5.0, 2.0),  # before the disease bends the shafts
}


def sample_habit(knees: int, rng: np.random.Generator, *, other_knee: pd.DataFrame | None = None) -> pd.DataFrame:
    """Table of what stays the same in a knee while its disease goes on, one row per knee.

    The columns are those of `_AMONG_KNEES`, ``medial`` (the side the disease sits on) and ``share_<site>`` (size of the
    osteophyte against the largest, 0 to 1). With `other_knee` it is the habit of the same people's second knees.
    """
    habit = {}
    for name, (mean, spread) in _AMONG_KNEES.items():
        habit[name] = mean + spread * rng.standard_normal(knees)
        if other_knee is not None:
            habit[name] = like_the_other(habit[name], other_knee[name].to_numpy(), mean)
    medial = rng.random(knees) < MEDIAL_SHARE
    if other_knee is not None:
        # The share of people whose disease must sit on one side in both knees is the same number.
        medial = np.where(rng.random(knees) < ALIKE, other_knee["medial"], medial)
    # One site leads; its partner across the joint follows closely, the far side less.
    partner, far = rng.uniform(0.6, 1.0, knees), rng.uniform(0.35, 0.75, knees)
    femur_leads = rng.random(knees) < 0.5
    near = np.where(femur_leads, [np.ones(knees), partner], [partner, np.ones(knees)])
    distant = far * np.stack([np.ones(knees), rng.uniform(0.5, 1.0, knees)])
    shares = np.concatenate([np.where(medial, near, distant), np.where(medial, distant, near)])
    columns = {f"share_{site}": share for site, share in zip(SITES, shares, strict=True)}
    return pd.DataFrame(habit | {"medial": medial} | columns)


def signs_at(severity: np.ndarray, habit: pd.DataFrame) -> pd.DataFrame:
    """Fields of `Signs`, rounded to two decimals, of knees of this habit at these severities, ``(N,)`` from 0 to 5.

    Every sign follows its monotone course, read off at the severity plus the sign's own lead: with the same habit none
    is ever better at a greater severity. Medial disease bends the shafts towards varus, lateral disease to valgus.
    """
    severity = np.asarray(severity, float)
    if severity.shape != (len(habit),):
        raise KoaError(f"Severities of shape {severity.shape} for {len(habit)} knees.", remedy="Give one a knee.")
    if not np.all((severity >= 0) & (severity <= MOST_SEVERE)):
        raise KoaError("A severity is outside 0 to 5.", remedy="Give numbers from 0 to 5.")

    def course(sign: str, leading: str = "") -> np.ndarray:
        return np.interp(severity + habit[f"{leading or sign}_lead"].to_numpy(), _SEVERITY, _COURSE[sign])

    medial = habit["medial"].to_numpy()
    narrow = np.clip(course("width"), _NARROWEST_MM, _WIDEST_MM)
    # The spared compartment keeps most of its cartilage, and stays the wider one.
    spared = habit["spared_mm"].to_numpy() - 0.1 * severity
    wide = np.clip(np.maximum(narrow, spared), _NARROWEST_MM, _WIDEST_MM)
    largest = course("osteophytes")
    bend = course("bend", "width") * np.where(medial, _VARUS_DEG, _VALGUS_DEG)
    drawn = {
        "jsw_medial_mm": np.where(medial, narrow, wide),
        "jsw_lateral_mm": np.where(medial, wide, narrow) + LATERAL_SURPLUS_MM,
        **{f"osteophyte_{site}": largest * habit[f"share_{site}"].to_numpy() for site in SITES},
        **{name: course(name) for name in ("sclerosis", "deformity", "spiking")},
        "valgus_deg": habit["healthy_valgus_deg"].to_numpy() + bend,
    }
    # Rounded so that grades do not depend on a last bit.
    return pd.DataFrame({name: np.round(np.clip(drawn[name], *RANGES[name]), 2) for name in RANGES})


def sample_signs(severity: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Signs of knees of these severities (``(N,)``, 0 to 5), each with a habit of its own, as `signs_at` gives them."""
    return signs_at(severity, sample_habit(len(severity), rng))


def sample_features(
    grade: int, rng: np.random.Generator, *, exposure: Exposure | None = None, build: Build | None = None
) -> KneeFeatures:
    """Features of a knee for which `kl_grade` gives `grade`.

    Neighbouring grades overlap in every single sign. About seven knees in ten have medial disease. `exposure` and
    `build` are drawn by `sample_exposure` and `sample_build` unless given; a grade outside 0 to 4 is a `KoaError`.
    """
    if grade not in GRADES:
        raise KoaError(f"There is no KL grade {grade!r}.", remedy="Give a grade from 0 to 4.")
    exposure, build = exposure or sample_exposure(rng), build or sample_build(rng)
    while True:
        candidates = sample_signs(grade + rng.random(16), rng)
        fitting = np.flatnonzero(kl_grades(candidates) == grade)
        if len(fitting):
            own = {name: float(value) for name, value in candidates.iloc[fitting[0]].items()}
            return KneeFeatures(**own, exposure=exposure, build=build)
