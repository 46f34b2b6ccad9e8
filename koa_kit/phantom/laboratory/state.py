"""What the phantom laboratory shows, as a frozen record, and the knee it stands for; no widget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, OSTEOPHYTES, RANGES, KneeFeatures, Signs
from koa_kit.phantom.knee.records import Exposure, number, sample_build, sample_exposure

FILMS = {"clear": "clear film", "typical": "film as in a cohort"}

# Size at each of the `OSTEOPHYTES` against the largest, when the disease is medial.
_USUAL_SHARES = (0.8, 1.0, 0.4, 0.5)


@dataclass(frozen=True)
class LabState(Signs):
    """One knee in the laboratory: its signs, whose knee it is, how it is filmed, and how detailed its report is.

    Attributes
    ----------
    jsw_medial_mm, jsw_lateral_mm
        As in `Signs`, which has the other signs as well, but 0 to 7 and 0 to 8 mm: a little above a healthy knee.
    side
        "R" or "L".
    seed
        Whose knee: the build of the bones, the grain, and the words of the report. 0 or more.
    film
        "clear", or "typical": an exposure drawn as in a cohort.
    detail
        How much the report says, 0 to 1.

    One that cannot be is a `KoaError` that names it.
    """

    jsw_medial_mm: float = number(4.4, 0, 7)
    jsw_lateral_mm: float = number(6.0, 0, 8)
    side: str = "R"
    seed: int = 0
    film: str = "clear"
    detail: float = number(1.0, 0, 1)

    def __post_init__(self):
        super().__post_init__()
        for name, options in (("side", ("R", "L")), ("film", tuple(FILMS))):
            if getattr(self, name) not in options:
                raise KoaError(f"{name} is {getattr(self, name)!r}.", remedy=f"Choose from {', '.join(options)}.")
        if self.seed != int(self.seed) or self.seed < 0:
            raise KoaError(f"seed is {self.seed!r}.", remedy="Give a whole number from 0 on.")

    @property
    def largest(self) -> float:
        """Size of the largest osteophyte."""
        return max(self.osteophytes)

    def features(self) -> KneeFeatures:
        """Features of the knee: these signs, the build of person `seed`, and an exposure by `film`."""
        exposure = Exposure() if self.film == "clear" else sample_exposure(np.random.default_rng((self.seed, 1)))
        own = {name: getattr(self, name) for name in RANGES}
        return KneeFeatures(**own, build=sample_build(np.random.default_rng(self.seed)), exposure=exposure)

    def with_largest(self, size: float) -> LabState:
        """State whose largest osteophyte has this size, 0 to 3, and the others the size they usually have with it.

        The largest is on the tibia of the narrower compartment, the medial one where both are equal.
        """
        medial = self.jsw_medial_mm <= self.jsw_lateral_mm - LATERAL_SURPLUS_MM + 1e-9
        shares = _USUAL_SHARES if medial else (*_USUAL_SHARES[2:], *_USUAL_SHARES[:2])
        return replace(self, **{name: round(size * share, 1) for name, share in zip(OSTEOPHYTES, shares, strict=True)})


LIMITS = LabState.ranges()
"""Least and greatest value of each number of `LabState`: the ends of its sliders."""
