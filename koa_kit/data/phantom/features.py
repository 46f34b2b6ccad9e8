"""What a reader sees in a knee, as numbers, and the Kellgren-Lawrence grade that follows from them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from koa_kit.errors import KoaError
from koa_kit.style import GRADES

SITES = ("medial_femur", "medial_tibia", "lateral_femur", "lateral_tibia")
LATERAL_SURPLUS_MM = 0.8
"""A healthy lateral joint space is wider than the medial one by about this much."""

DOUBTFUL_MM, DEFINITE_MM, MARKED_MM = 3.6, 2.8, 1.4
"""Below these widths of the narrower compartment (medial scale) narrowing is doubtful, definite, marked."""

POSSIBLE, PRESENT, LARGE = 0.5, 1.0, 2.0
"""From these sizes on an osteophyte is possible lipping, definite, large."""


@dataclass(frozen=True)
class Exposure:
    """How a knee was placed and exposed: everything in the image that is no sign of disease.

    Attributes
    ----------
    brightness, contrast
        Mean and standard deviation of the image's grey levels, 0 to 1, before very bright and very dark parts saturate.
    glow
        Extra brightness of the thigh, 0 to 1; large values burn the femur out.
    blur
        Standard deviation of the blur in pixels of a 224-pixel image.
    noise
        Standard deviation of the grain, 0 to 1 grey scale.
    trabeculae
        How clearly the cancellous bone's texture shows, 0 to 1.
    tilt_deg, shift_x_mm, shift_y_mm, scale
        Rotation, offset (towards medial, downwards) and magnification of the knee in the crop.
    leg_width_mm
        Width of the leg; a thin one lets black air into the crop.
    bead
        Whether the small metal bead of a calibration frame shows beside the joint.
    """

    brightness: float = 0.61
    contrast: float = 0.15
    glow: float = 0.2
    blur: float = 0.7
    noise: float = 0.012
    trabeculae: float = 0.5
    tilt_deg: float = 0.0
    shift_x_mm: float = 0.0
    shift_y_mm: float = 0.0
    scale: float = 1.0
    leg_width_mm: float = 118.0
    bead: bool = False


@dataclass(frozen=True)
class KneeFeatures:
    """The radiographic signs of one knee and how it was exposed; the defaults are a healthy knee.

    Attributes
    ----------
    jsw_medial_mm, jsw_lateral_mm
        Joint space width in the middle of the compartment, 0 to 9 mm.
    osteophyte_medial_femur, osteophyte_medial_tibia, osteophyte_lateral_femur, osteophyte_lateral_tibia
        Size at the joint margin: 0 none to 3 large, like the grades of the OARSI atlas, but in between as well.
    sclerosis
        Whitening of the bone beside the narrower compartment, 0 none to 3 severe.
    deformity
        Attrition: the plateau of the narrower compartment sinks and turns uneven, 0 none to 3 severe.
    exposure
        Placement and exposure; the grade does not depend on it.

    Raises
    ------
    KoaError
        When a sign is out of its range.
    """

    jsw_medial_mm: float = 4.6
    jsw_lateral_mm: float = 5.4
    osteophyte_medial_femur: float = 0.0
    osteophyte_medial_tibia: float = 0.0
    osteophyte_lateral_femur: float = 0.0
    osteophyte_lateral_tibia: float = 0.0
    sclerosis: float = 0.0
    deformity: float = 0.0
    exposure: Exposure = field(default_factory=Exposure)

    def __post_init__(self):
        for name in SIGNS:
            value, top = getattr(self, name), 9 if name.startswith("jsw") else 3
            if not 0 <= value <= top:
                raise KoaError(f"{name} is {value}.", remedy=f"Give a number from 0 to {top}.")

    @property
    def osteophytes(self) -> tuple[float, float, float, float]:
        """Sizes at the four sites, in the order of `SITES`."""
        return tuple(getattr(self, f"osteophyte_{site}") for site in SITES)

    @property
    def narrowest_mm(self) -> float:
        """Width of the narrower compartment in mm, the lateral one less its natural surplus."""
        return min(self.jsw_medial_mm, self.jsw_lateral_mm - LATERAL_SURPLUS_MM)

    @property
    def medial_share(self) -> float:
        """How far the disease sits on the medial side: 1 medial, 0 lateral, 0.5 when both compartments are equal."""
        return 1 / (1 + math.exp((self.jsw_medial_mm - self.jsw_lateral_mm + LATERAL_SURPLUS_MM) / 0.4))

    def as_row(self) -> dict[str, float]:
        """One flat table row: the eight signs, then the fields of `Exposure`."""
        return {name: getattr(self, name) for name in SIGNS} | asdict(self.exposure)


SIGNS = tuple(entry.name for entry in fields(KneeFeatures) if entry.name != "exposure")


def kl_grade(features: KneeFeatures) -> int:
    """KL grade 0 to 4: the highest grade whose description the knee meets in full.

    ===== ==================================================== ===========================================
    grade Kellgren and Lawrence                                here
    ===== ==================================================== ===========================================
    4     large osteophytes, marked narrowing, severe          one osteophyte >= 2, narrowest < 1.4 mm,
          sclerosis, definite deformity                        sclerosis >= 2, deformity >= 1
    3     moderate multiple osteophytes, definite narrowing,   two osteophytes >= 1, narrowest < 2.8 mm,
          some sclerosis                                       sclerosis >= 0.5
    2     definite osteophytes, possible narrowing             one osteophyte >= 1
    1     doubtful narrowing, possible osteophytic lipping     narrowest < 3.6 mm or one osteophyte >= 0.5
    0     no feature of osteoarthritis                         none of these
    ===== ==================================================== ===========================================

    The numbers are the kit's own; the original gives words only, and it asks for osteophytes from grade 2 on. So a knee
    that is narrowed but has none stays at 1, as it would by the letter of the original.

    Source: Kellgren and Lawrence (1957), Ann Rheum Dis 16:494-502.

    Examples
    --------
    >>> kl_grade(KneeFeatures()), kl_grade(KneeFeatures(osteophyte_medial_tibia=1.4))
    (0, 2)
    """
    width, sizes = features.narrowest_mm, sorted(features.osteophytes)
    if sizes[-1] >= LARGE and width < MARKED_MM and features.sclerosis >= 2 and features.deformity >= 1:
        return 4
    if sizes[-2] >= PRESENT and width < DEFINITE_MM and features.sclerosis >= 0.5:
        return 3
    if sizes[-1] >= PRESENT:
        return 2
    return int(width < DOUBTFUL_MM or sizes[-1] >= POSSIBLE)


# Narrowest width in mm, largest osteophyte, sclerosis, deformity: mean and spread a grade, before the rules decide.
_TYPICAL = {
    0: ((4.6, 0.45), (0.1, 0.2), (0.1, 0.25), (0.0, 0.0)),
    1: ((3.75, 0.45), (0.55, 0.3), (0.3, 0.35), (0.0, 0.1)),
    2: ((3.2, 0.6), (1.5, 0.4), (0.6, 0.5), (0.0, 0.2)),
    3: ((2.0, 0.45), (2.0, 0.45), (1.5, 0.5), (0.3, 0.5)),
    4: ((0.7, 0.4), (2.8, 0.4), (2.6, 0.4), (2.0, 0.7)),
}


def sample_features(grade: int, rng: np.random.Generator, *, exposure: Exposure | None = None) -> KneeFeatures:
    """Signs of a knee for which `kl_grade` gives `grade`, drawn around what is typical of it.

    Neighbouring grades overlap in every single sign. About three knees in four have medial disease.

    Parameters
    ----------
    grade
        0 to 4; anything else raises `KoaError`.
    rng
        Source of chance; the same state gives the same knee.
    exposure
        Taken as it is; omitted, drawn by `sample_exposure`.
    """
    if grade not in GRADES:
        raise KoaError(f"There is no KL grade {grade!r}.", remedy="Give a grade from 0 to 4.")
    exposure = exposure or sample_exposure(rng)
    while True:
        features = _attempt(_TYPICAL[grade], rng, exposure)
        if kl_grade(features) == grade:
            return features


def _attempt(typical, rng: np.random.Generator, exposure: Exposure) -> KneeFeatures:
    width, largest, sclerosis, deformity = (rng.normal(*pair) for pair in typical)
    medial = rng.random() < 0.75
    # The other compartment keeps most of its cartilage; a lost meniscus on one side opens the other a little.
    other = max(width, 4.5 + 0.5 * rng.standard_normal() + 0.15 * max(3.0 - width, 0))
    narrow, wide = np.clip(width, 0.1, 6.5), np.clip(other, 0.1, 6.8)
    jsw = (narrow, wide + LATERAL_SURPLUS_MM) if medial else (wide, narrow + LATERAL_SURPLUS_MM)
    # One site leads; its partner across the joint follows closely, the far side less.
    far = 0.35 + 0.4 * rng.random()
    share = np.array([1.0, rng.uniform(0.6, 1.0), far, far * rng.uniform(0.5, 1.0)])
    if rng.random() < 0.5:
        share[[0, 1]] = share[[1, 0]]
    sizes = largest * (share if medial else share[[2, 3, 0, 1]])
    signs = dict(zip(SITES, np.round(np.clip(sizes, 0, 3), 2).tolist(), strict=True))
    return KneeFeatures(
        jsw_medial_mm=round(float(jsw[0]), 2),
        jsw_lateral_mm=round(float(jsw[1]), 2),
        **{f"osteophyte_{site}": size for site, size in signs.items()},
        sclerosis=round(float(np.clip(sclerosis, 0, 3)), 2),
        deformity=round(float(np.clip(deformity, 0, 3)), 2),
        exposure=exposure,
    )


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """Placement and exposure as they vary among the crops of oai-kl224: mean 0.61 +- 0.1, spread 0.15 +- 0.06."""
    normal = rng.standard_normal
    return Exposure(
        brightness=float(np.clip(0.605 + 0.11 * normal(), 0.28, 0.86)),
        contrast=float(np.clip(0.152 * math.exp(0.36 * normal()), 0.07, 0.32)),
        glow=float(rng.beta(1.3, 3.0)),
        blur=float(rng.uniform(0.5, 1.0)),
        noise=float(0.004 + 0.012 * rng.random()),
        trabeculae=float(rng.beta(1.6, 2.2)),
        tilt_deg=float(np.clip(1.6 * normal(), -4, 4)),
        shift_x_mm=float(np.clip(1.5 * normal(), -4, 4)),
        shift_y_mm=float(np.clip(1.3 * normal(), -4, 4)),
        scale=float(np.clip(1 + 0.035 * normal(), 0.9, 1.1)),
        leg_width_mm=float(np.clip(118 + 11 * normal(), 97, 150)),
        bead=bool(rng.random() < 0.05),
    )
