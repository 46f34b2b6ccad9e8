"""What the phantom laboratory shows, as a frozen record, and the knee it stands for: pure functions, no widget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.build import require_within, sample_build
from koa_kit.phantom.knee.exposure import Exposure, sample_exposure
from koa_kit.phantom.knee.features import FURTHER, LATERAL_SURPLUS_MM, RANGES, SIGNS, SITES, KneeFeatures

LIMITS = {name: RANGES[name] for name in (*SIGNS, *FURTHER)} | {
    "jsw_medial_mm": (0, 7),
    "jsw_lateral_mm": (0, 8),
    "detail": (0, 1),
}
"""Least and greatest value of each number of `LabState`; the widths end a little above those of a healthy knee."""

FILMS = {"clear": "clear film", "typical": "film as in a cohort"}
OSTEOPHYTES = tuple(f"osteophyte_{site}" for site in SITES)

# Size at each of the `SITES` against the largest, when the disease is medial.
_USUAL_SHARES = (0.8, 1.0, 0.4, 0.5)


@dataclass(frozen=True)
class LabState:
    """One knee in the laboratory: its signs, whose knee it is, how it is filmed, and how much the report tells.

    Attributes
    ----------
    jsw_medial_mm, jsw_lateral_mm
        Joint space widths, 0 to 7 and 0 to 8 mm.
    osteophyte_medial_femur, osteophyte_medial_tibia, osteophyte_lateral_femur, osteophyte_lateral_tibia
        Sizes, 0 to 3.
    sclerosis, deformity, valgus_deg, spiking
        As in `KneeFeatures`.
    side
        "R" or "L".
    seed
        Whose knee: the build of the bones, the grain, and the words of the report. 0 or more.
    film
        "clear", or "typical": an exposure drawn as in a cohort.
    detail
        How much the report says, 0 to 1.

    Raises
    ------
    KoaError
        When one of them cannot be; the message names it.
    """

    jsw_medial_mm: float = 4.4
    jsw_lateral_mm: float = 6.0
    osteophyte_medial_femur: float = 0.0
    osteophyte_medial_tibia: float = 0.0
    osteophyte_lateral_femur: float = 0.0
    osteophyte_lateral_tibia: float = 0.0
    sclerosis: float = 0.0
    deformity: float = 0.0
    valgus_deg: float = 5.0
    spiking: float = 0.0
    side: str = "R"
    seed: int = 0
    film: str = "clear"
    detail: float = 1.0

    def __post_init__(self):
        require_within(self, LIMITS)
        if self.side not in ("L", "R"):
            raise KoaError(f"side is {self.side!r}.", remedy='Give "L" or "R".')
        if self.film not in FILMS:
            raise KoaError(f"film is {self.film!r}.", remedy=f"Choose from {', '.join(FILMS)}.")
        if self.seed != int(self.seed) or self.seed < 0:
            raise KoaError(f"seed is {self.seed!r}.", remedy="Give a whole number from 0 on.")

    @property
    def largest(self) -> float:
        """Size of the largest osteophyte."""
        return max(getattr(self, name) for name in OSTEOPHYTES)


def features(state: LabState) -> KneeFeatures:
    """Features of the knee: the state's signs, the build of person `seed`, and an exposure by `film`."""
    exposure = Exposure() if state.film == "clear" else sample_exposure(np.random.default_rng((state.seed, 1)))
    own = {name: getattr(state, name) for name in (*SIGNS, *FURTHER)}
    return KneeFeatures(**own, build=sample_build(np.random.default_rng(state.seed)), exposure=exposure)


def signs(state: LabState) -> pd.DataFrame:
    """The eight `SIGNS` as a table of one row, as the readers' functions take them."""
    return pd.DataFrame({name: [float(getattr(state, name))] for name in SIGNS})


def with_largest(state: LabState, size: float) -> LabState:
    """State whose largest osteophyte has this size, 0 to 3, and the others the size they usually have beside it.

    The largest is on the tibia of the compartment that is the narrower one, the medial one where both are equal.
    """
    medial = state.jsw_medial_mm <= state.jsw_lateral_mm - LATERAL_SURPLUS_MM + 1e-9
    shares = _USUAL_SHARES if medial else (*_USUAL_SHARES[2:], *_USUAL_SHARES[:2])
    return replace(state, **{name: round(size * share, 1) for name, share in zip(OSTEOPHYTES, shares, strict=True)})
