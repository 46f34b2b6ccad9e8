"""Readers who disagree: each sees the signs with errors of her own and applies limits of her own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.special import ndtr

from koa_kit.errors import KoaError
from koa_kit.phantom.knee.features import OSTEOPHYTES, SIGNS, Rules, kl_grades, summary_signs

ERRORS = {
    "width": ["jsw_medial_mm", "jsw_lateral_mm"],
    "osteophytes": list(OSTEOPHYTES),
    "sclerosis": ["sclerosis"],
    "deformity": ["deformity"],
}
"""What a reader misjudges, in the order of the columns of an array of errors, and the signs she then sees wrong."""

_IN_ORDER = (
    ("marked_mm", "definite_mm", "doubtful_mm"),
    ("possible", "present", "large"),
    ("some_sclerosis", "severe_sclerosis"),
)


@dataclass(frozen=True)
class Reader:
    """One reader: where her words begin, and how well she sees.

    She errs once a knee on each of `ERRORS`, normally and without bias, independently of each other, of other readers,
    of other knees and, given the signs, of the image. Any bias of hers lies in her `rules`.

    Attributes
    ----------
    rules
        Her own limits, in order: marked narrowing is narrower than definite, a large osteophyte larger than a possible.
    width_noise_mm, osteophyte_noise, sclerosis_noise, deformity_noise
        Standard deviations of her errors, in mm and in the units of the signs, at least 0.

    A negative standard deviation, or limits that are not in order, are a `KoaError`.
    """

    name: str
    rules: Rules
    width_noise_mm: float
    osteophyte_noise: float
    sclerosis_noise: float
    deformity_noise: float

    def __post_init__(self):
        for name in ("width_noise_mm", "osteophyte_noise", "sclerosis_noise", "deformity_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise KoaError(f"{name} is {getattr(self, name)}.", where=self.name, remedy="Give 0 or more.")
        for names in _IN_ORDER:
            limits = [getattr(self.rules, name) for name in names]
            # In order, a definite osteophyte is a possible one too, and so on: the probabilities below rest on it.
            if not all(low <= high for low, high in pairwise(limits)):
                raise KoaError(f"The limits {limits} are not in order.", where=self.name, remedy=" <= ".join(names))

    @property
    def noise(self) -> np.ndarray:
        """Standard deviations of the errors in the order of `ERRORS`, float64 ``(4,)``."""
        return np.array([self.width_noise_mm, self.osteophyte_noise, self.sclerosis_noise, self.deformity_noise])


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "A": Reader("A", Rules(), 0.55, 0.34, 0.45, 0.45),
        "B": Reader("B", Rules(possible=0.4, present=0.85, large=1.85), 0.65, 0.37, 0.5, 0.45),
        "C": Reader("C", Rules(doubtful_mm=3.8, definite_mm=3.0, possible=0.65, present=1.2), 0.5, 0.36, 0.45, 0.45),
    }
)
"""Three readers: A keeps to the kit's rules, B calls osteophytes early and sees widths least well, C calls osteophytes
late and narrowing early. The numbers are the kit's own: two of them agree with a quadratic kappa of 0.75 to 0.90."""

READER_COLUMNS = tuple(f"reader_{name}" for name in READERS)
"""Columns of a table that hold the readers' grades."""


def reading_errors(knees: int, rng: np.random.Generator) -> np.ndarray:
    """Errors of each reader at each knee in standard deviations, float64 ``(3, N, 4)``, columns as in `ERRORS`."""
    return rng.standard_normal((len(READERS), knees, len(ERRORS)))


def read(signs: pd.DataFrame, reader: Reader, errors: np.ndarray) -> np.ndarray:
    """KL grade the reader gives every row, int64 ``(N,)``: `kl_grades` of what she perceives, by her own rules.

    What she perceives, the signs with her errors ``(N, 4)``, is not cut to the range of the sign: the limits lie inside
    it, so no grade would change.
    """
    perceived = _signs(signs)
    errors = np.asarray(errors, float)
    if errors.shape != (len(perceived), len(ERRORS)):
        raise KoaError(f"Errors of shape {errors.shape} do not fit.", remedy=f"Give ({len(perceived)}, {len(ERRORS)}).")
    for error, name in zip((errors * reader.noise).T, ERRORS, strict=True):
        perceived[ERRORS[name]] += error[:, None]
    return kl_grades(perceived, reader.rules)


def readings(signs: pd.DataFrame, errors: np.ndarray) -> pd.DataFrame:
    """Grades by every reader, the columns `READER_COLUMNS`, from the signs and `reading_errors`."""
    columns = zip(READER_COLUMNS, READERS.values(), errors, strict=True)
    return pd.DataFrame({name: read(signs, one, drawn) for name, one, drawn in columns}, signs.index)


def consensus(grades: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Median grade of every row of ``(N, R)``, int64 ``(N,)``; `KoaError` when R is even: it could lie between two."""
    grades = np.asarray(grades)
    if grades.ndim != 2 or grades.shape[1] % 2 == 0:
        raise KoaError(f"Grades of shape {grades.shape} have no middle one.", remedy="Give an odd number of columns.")
    return np.sort(grades, axis=1)[:, grades.shape[1] // 2].astype(np.int64)


def grade_probabilities(signs: pd.DataFrame, reader: Reader) -> np.ndarray:
    """Probability that the reader gives each knee each grade, float64 ``(N, 5)``, exact; rows sum to 1.

    Each grade of `kl_grades` asks for limits on independent normal numbers, so its probability is a product. A missing
    sign is a `KoaError`.
    """
    return 0.0 - np.diff(_at_least_each_grade(signs, reader), axis=1, append=0)


def consensus_probabilities(signs: pd.DataFrame, readers: Mapping[str, Reader] = READERS) -> np.ndarray:
    """Probability of each grade as the median of an odd number of readers, float64 ``(N, 5)``, exact; rows sum to 1.

    The median is at least k where more than half of the readers say at least k; their number has a Poisson binomial
    distribution. An even number of readers or a missing sign is a `KoaError`.
    """
    if len(readers) % 2 == 0:
        raise KoaError(f"{len(readers)} readers have no middle one.", remedy="Give an odd number of readers.")
    # counts[j] is the probability that j of the readers so far say at least k, for every knee and k.
    counts: list = [1.0]
    for one in readers.values():
        yes = _at_least_each_grade(signs, one)
        counts = [a * (1 - yes) + b * yes for a, b in zip([*counts, 0.0], [0.0, *counts], strict=True)]
    return 0.0 - np.diff(_nested(sum(counts[len(readers) // 2 + 1 :])), axis=1, append=0)


def agreement(grades: pd.DataFrame) -> pd.DataFrame:
    """Agreement of every two readers: ``reader``, ``other``, ``kappa`` (quadratic weights), ``exact`` (share), ``n``.

    `grades` has a column ``reader_<name>`` for each; other columns are ignored. Fewer than two are a `KoaError`.
    """
    from sklearn.metrics import cohen_kappa_score

    names = [name for name in grades.columns if str(name).startswith("reader_")]
    if len(names) < 2:
        raise KoaError("The table has fewer than two readers.", remedy=f"It needs columns like {READER_COLUMNS}.")
    rows = []
    for one, other in combinations(names, 2):
        a, b = grades[one].to_numpy(), grades[other].to_numpy()
        # Kappa is undefined where both call every knee the same.
        kappa = cohen_kappa_score(a, b, weights="quadratic") if len({*a, *b}) > 1 else math.nan
        rows.append((one.removeprefix("reader_"), other.removeprefix("reader_"), kappa, float((a == b).mean()), len(a)))
    return pd.DataFrame(rows, columns=["reader", "other", "kappa", "exact", "n"])


def _signs(table: pd.DataFrame) -> pd.DataFrame:
    """The columns `SIGNS` as floats, a copy."""
    missing = [name for name in SIGNS if name not in table or table[name].isna().any()]
    if missing:
        raise KoaError("A sign is missing.", where=", ".join(missing), remedy="Only phantom knees have known signs.")
    return table[list(SIGNS)].astype(float)


def _at_least_each_grade(signs: pd.DataFrame, reader: Reader) -> np.ndarray:
    """Probability that the reader says at least 0, 1, 2, 3, 4, float64 ``(N, 5)``."""
    signs, rules = _signs(signs), reader.rules
    width, largest, second = summary_signs(signs)
    sclerosis, deformity = signs["sclerosis"].to_numpy(), signs["deformity"].to_numpy()

    widths = rules.doubtful_mm, rules.definite_mm, rules.marked_mm
    not_doubtful, not_definite, not_marked = (_reaches(width - limit, reader.width_noise_mm) for limit in widths)
    whiteness = rules.some_sclerosis, rules.severe_sclerosis
    some, severe = (_reaches(sclerosis - limit, reader.sclerosis_noise) for limit in whiteness)
    over_large, over_two = largest - rules.large, second - rules.present
    over = largest - rules.possible, largest - rules.present, over_two, over_large, np.minimum(over_large, over_two)
    possible, present, two_present, large, large_and_two = (_reaches(own, reader.osteophyte_noise) for own in over)
    # Grade 3 or more means the description of 3, of 4, or both: a product too, since all osteophytes share one error.
    worn = (1 - not_marked) * severe * _reaches(deformity - rules.deformed, reader.deformity_noise)
    four, three, both = large * worn, two_present * (1 - not_definite) * some, large_and_two * worn
    one = 1 - not_doubtful * (1 - possible)
    return _nested(np.stack([np.ones(len(signs)), one, present, four + three - both, four], axis=1))


def _reaches(excess: np.ndarray, noise: float) -> np.ndarray:
    """Probability that a value `excess` above its limit still reaches it when perceived with this noise."""
    return ndtr(excess / noise) if noise > 0 else (excess >= 0).astype(float)


def _nested(at_least: np.ndarray) -> np.ndarray:
    """At least k+1 is never likelier than at least k, nor either outside 0 to 1: what rounding left over is cut."""
    return np.minimum.accumulate(np.clip(at_least, 0, 1), axis=1)
