"""What a reader sees in a knee, as numbers, and the Kellgren-Lawrence grade that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import pandas as pd

from koa_kit.phantom.knee.records import Build, Exposure, Ranged, number

SITES = ("medial_femur", "medial_tibia", "lateral_femur", "lateral_tibia")
OSTEOPHYTES = tuple(f"osteophyte_{site}" for site in SITES)
SIGNS = ("jsw_medial_mm", "jsw_lateral_mm", *OSTEOPHYTES, "sclerosis", "deformity")
"""The eight signs a grade follows from."""

# What the disease changes as well, though no grade asks for it.
FURTHER = ("valgus_deg", "spiking")
# A healthy lateral joint space is wider than the medial one by about this much.
LATERAL_SURPLUS_MM = 1.6


@dataclass(frozen=True)
class Signs(Ranged):
    """The radiographic signs of one knee and its alignment; the defaults are a healthy knee.

    Attributes
    ----------
    jsw_medial_mm, jsw_lateral_mm
        Joint space width in the middle of the compartment, 0 to 9 mm.
    osteophyte_medial_femur, osteophyte_medial_tibia, osteophyte_lateral_femur, osteophyte_lateral_tibia
        Size at the joint margin: 0 none to 3 large, like the grades of the OARSI atlas, but in between as well.
    sclerosis
        Whitening of the bone along the narrower compartment, 0 none to 3 severe.
    deformity
        Attrition: the plateau of the narrower compartment sinks and turns uneven, 0 none to 3 severe.
    valgus_deg
        Angle between the shafts of femur and tibia, -15 to 15 degrees: about 5 in health, below 0 a bow leg.
    spiking
        Peaked tibial spines and a narrow notch, 0 none to 3. The grade depends on neither angle nor spiking.

    A number out of its range is a `KoaError`.
    """

    jsw_medial_mm: float = number(4.4, 0, 9)
    jsw_lateral_mm: float = number(6.0, 0, 9)
    osteophyte_medial_femur: float = number(0.0, 0, 3)
    osteophyte_medial_tibia: float = number(0.0, 0, 3)
    osteophyte_lateral_femur: float = number(0.0, 0, 3)
    osteophyte_lateral_tibia: float = number(0.0, 0, 3)
    sclerosis: float = number(0.0, 0, 3)
    deformity: float = number(0.0, 0, 3)
    valgus_deg: float = number(5.0, -15, 15)
    spiking: float = number(0.0, 0, 3)

    @property
    def osteophytes(self) -> tuple[float, float, float, float]:
        """Sizes at the four sites, in the order of `SITES`."""
        return tuple(getattr(self, name) for name in OSTEOPHYTES)

    def as_table(self) -> pd.DataFrame:
        """Table of one row with the eight `SIGNS`, as `kl_grades` and the readers take them."""
        return pd.DataFrame({name: [float(getattr(self, name))] for name in SIGNS})


RANGES = Signs.ranges()
"""Least and greatest value of each sign, of the angle and of spiking."""


@dataclass(frozen=True)
class KneeFeatures(Signs):
    """One knee, all that its radiograph needs: the `Signs`, and build and exposure, on which no grade depends."""

    build: Build = field(default_factory=Build)
    exposure: Exposure = field(default_factory=Exposure)

    @property
    def medial_share(self) -> float:
        """How far the disease sits on the medial side: 1 medial, 0 lateral, 0.5 when both compartments are equal."""
        return 1 / (1 + math.exp((self.jsw_medial_mm - self.jsw_lateral_mm + LATERAL_SURPLUS_MM) / 0.4))

    def as_row(self) -> dict[str, float]:
        """One flat table row: the signs, angle and spiking, then the fields of `Build` and of `Exposure`."""
        return {name: getattr(self, name) for name in RANGES} | asdict(self.build) | asdict(self.exposure)

    @classmethod
    def from_row(cls, row: Mapping) -> KneeFeatures:
        """Features of a row as `as_row` writes it; further entries are ignored. A pandas row is welcome."""
        build, exposure = ({entry.name: row[entry.name] for entry in fields(of)} for of in (Build, Exposure))
        return cls(**{name: float(row[name]) for name in RANGES}, build=Build(**build), exposure=Exposure(**exposure))


@dataclass(frozen=True)
class Rules:
    """Limits at which words like "definite" begin; the defaults are the kit's own reading of Kellgren and Lawrence.

    Attributes
    ----------
    doubtful_mm, definite_mm, marked_mm
        Below these widths of the narrower compartment (medial scale) narrowing is doubtful, definite, marked.
    possible, present, large
        From these sizes on an osteophyte is possible lipping, definite, large.
    some_sclerosis, severe_sclerosis, deformed
        From these on sclerosis is some, severe, and the bone ends are definitely deformed.
    """

    doubtful_mm: float = 3.6
    definite_mm: float = 2.8
    marked_mm: float = 1.4
    possible: float = 0.5
    present: float = 1.0
    large: float = 2.0
    some_sclerosis: float = 0.5
    severe_sclerosis: float = 2.0
    deformed: float = 1.0


def kl_grades(signs: pd.DataFrame, rules: Rules | None = None) -> np.ndarray:
    """KL grade 0 to 4 of every row, int64 ``(N,)``: the highest grade whose description the knee meets in full.

    ===== ==================================================== ===========================================
    grade Kellgren and Lawrence                                here, with the default limits
    ===== ==================================================== ===========================================
    4     large osteophytes, marked narrowing, severe          one osteophyte >= 2, narrowest < 1.4 mm,
          sclerosis, definite deformity                        sclerosis >= 2, deformity >= 1
    3     moderate multiple osteophytes, definite narrowing,   two osteophytes >= 1, narrowest < 2.8 mm,
          some sclerosis                                       sclerosis >= 0.5
    2     definite osteophytes, possible narrowing             one osteophyte >= 1
    1     doubtful narrowing, possible osteophytic lipping     narrowest < 3.6 mm or one osteophyte >= 0.5
    0     no feature of osteoarthritis                         none of these
    ===== ==================================================== ===========================================

    The numbers are the kit's own; the original gives words only, and it asks for osteophytes from grade 2 on, so a knee
    that is narrowed but has none stays at 1.

    `signs` has the columns `SIGNS`; others are ignored. Without `rules` the defaults of `Rules` are the limits.

    Source: Kellgren and Lawrence (1957), Ann Rheum Dis 16:494-502.
    """
    rules = rules or Rules()
    width, largest, second = summary_signs(signs)
    sclerosis, deformity = signs["sclerosis"].to_numpy(float), signs["deformity"].to_numpy(float)
    four = (largest >= rules.large) & (width < rules.marked_mm)
    four &= (sclerosis >= rules.severe_sclerosis) & (deformity >= rules.deformed)
    three = (second >= rules.present) & (width < rules.definite_mm) & (sclerosis >= rules.some_sclerosis)
    one = (width < rules.doubtful_mm) | (largest >= rules.possible)
    return np.select([four, three, largest >= rules.present, one], [4, 3, 2, 1], 0)


def kl_grade(features: Signs, rules: Rules | None = None) -> int:
    """KL grade 0 to 4 of one knee by the rules of `kl_grades`.

    Examples
    --------
    >>> kl_grade(KneeFeatures()), kl_grade(KneeFeatures(osteophyte_medial_tibia=1.4))
    (0, 2)
    """
    return int(kl_grades(features.as_table(), rules)[0])


def summary_signs(signs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Narrowest width in mm (medial scale), largest and second largest osteophyte of every row, each ``(N,)``."""
    width = np.minimum(signs["jsw_medial_mm"], signs["jsw_lateral_mm"] - LATERAL_SURPLUS_MM).to_numpy(float)
    sizes = np.sort(signs[list(OSTEOPHYTES)].to_numpy(float), axis=1)
    return width, sizes[:, -1], sizes[:, -2]
