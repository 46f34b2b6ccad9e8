"""A knee in words: the short report a radiologist might dictate, vague where she would be, and without a grade."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.phantom.drawing.radiograph import check_picture
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, SITES, KneeFeatures
from koa_kit.phantom.knee.records import Exposure

# Where one word gives way to the next: near the limits of `Rules`, on neither side of them by design.
_NARROW_MM = (1.1, 2.4, 3.2, 3.9)
_SPUR = (0.35, 0.8, 1.4, 2.3)
_WHITE = (0.4, 1.1, 2.2)
_BENT = (0.5, 1.2, 2.2)
_AXIS_DEG = (-4.0, 0.0, 9.5, 12.5)
_BURDEN = (1.2, 3.0, 5.5, 9.0)

# Standard deviations of the radiologist's errors: width in mm, osteophytes, sclerosis, deformity, angle, burden.
_ERRORS = np.array((0.3, 0.22, 0.3, 0.3, 1.2, 0.6))

_TECHNIQUE = ("Frontal radiograph of the {} knee", "Single frontal view of the {} knee", "{} knee, frontal view")
_GOOD = ("of good quality", "of diagnostic quality", "adequately exposed")
_SPACE = (
    ("preserved", "well maintained", "of normal width"),
    ("possibly narrowed", "doubtfully narrowed", "perhaps a little narrow"),
    ("mildly narrowed", "slightly reduced"),
    ("clearly narrowed", "definitely reduced"),
    ("markedly narrowed", "almost lost", "nearly obliterated"),
)
_NO_SPURS = ("No osteophytes", "No marginal spurs", "Joint margins smooth")
_SIZES = (
    (),
    ("possible", "doubtful", "questionable"),
    ("small", "slight"),
    ("definite", "moderate"),
    ("large", "prominent"),
)
_SCLEROSIS = (
    ("no subchondral sclerosis", "subchondral bone unremarkable"),
    ("sclerosis cannot be excluded", "possible slight sclerosis"),
    ("mild subchondral sclerosis", "some subchondral sclerosis"),
    ("marked subchondral sclerosis", "dense subchondral sclerosis"),
)
_DEFORMITY = (
    ("bone contours preserved", "no deformity"),
    ("flattening of the plateau cannot be excluded", "bone contours doubtful"),
    ("flattening of the plateau", "mild deformity of the bone ends"),
    ("marked loss of bone at the plateau", "gross deformity of the bone ends"),
)
_ALIGNMENT = ("in varus", "in slight varus", "unremarkable", "in slight valgus", "in valgus")
_OPEN = (
    "Clinical correlation is advised",
    "To be read together with the clinical findings",
    "Comparison with earlier films would help",
)
_VERDICT = (
    ("No convincing sign of osteoarthritis", "No degenerative change to be seen"),
    ("Early degenerative change cannot be excluded", "Doubtful degenerative change"),
    ("Mild degenerative change", "Findings suggest mild osteoarthritis"),
    ("Established osteoarthritis", "Osteoarthritis with loss of joint space or spurs"),
    ("Advanced osteoarthritis", "Far advanced degenerative change"),
)


class _Impression:
    """What the radiologist takes the knee for, as steps of each scale; medial before lateral."""

    def __init__(self, features: KneeFeatures, errors: np.ndarray):
        # One error for both compartments and one for all sites: the worse side stays the worse one.
        widths = features.jsw_medial_mm, features.jsw_lateral_mm - LATERAL_SURPLUS_MM
        self.widths_mm = [max(0.0, width + errors[0]) for width in (widths[0], widths[1] + LATERAL_SURPLUS_MM)]
        self.space = [len(_NARROW_MM) - bisect_right(_NARROW_MM, width + errors[0]) for width in widths]
        self.spurs = [bisect_right(_SPUR, size + errors[1]) if size > 0 else 0 for size in features.osteophytes]
        self.sclerosis = bisect_right(_WHITE, features.sclerosis + errors[2])
        self.deformity = bisect_right(_BENT, features.deformity + errors[3])
        self.alignment = bisect_right(_AXIS_DEG, features.valgus_deg + errors[4])
        burden = max(self.space) + max(self.spurs) + 0.6 * self.sclerosis + 0.8 * self.deformity + errors[5]
        self.verdict = bisect_right(_BURDEN, burden)
        self.narrower = _side_of(widths[1] - widths[0], 0.25)
        self.sicker = _side_of(self.space[0] + max(self.spurs[:2]) - self.space[1] - max(self.spurs[2:]), 0.5)


def report(features: KneeFeatures, *, side: str = "R", detail: float = 0.7, seed: int | Sequence[int] = 0) -> str:
    """Report of one knee in two to five sentences: the film, joint space, osteophytes, bone and axis, an impression.

    It never names a grade. The words begin at limits that are not those of `Rules` and are applied to the signs as
    somebody sees them who errs a little, so the text hints at the grade without giving it away.

    Parameters
    ----------
    side
        "R" or "L".
    detail
        How much it says, 0 to 1. With 0 the quality of the film and a sentence that commits to nothing; in between,
        each finding is mentioned with this probability, and located with this probability; with 1 every finding at
        every site, and the joint space widths in mm, to the nearest half.
    seed
        The radiologist's errors and her choice of words: a number, or several.

    A `detail` outside 0 to 1 or an unknown side is a `KoaError`.
    """
    if not 0 <= detail <= 1:
        raise KoaError(f"A report cannot have detail {detail}.", remedy="Give a number from 0 to 1.")
    check_picture(side)
    rng = np.random.default_rng(seed)
    seen = _Impression(features, _ERRORS * rng.standard_normal(len(_ERRORS)))
    said = rng.random(6) < detail
    placed = rng.random(4) < detail
    measured = rng.random() < 5 * detail - 4
    # Choices of their own for each part: another finding leaves the rest of the text as it was.
    film, space, spurs, bone, end = (_choice(own) for own in rng.spawn(5))

    technique = film(_TECHNIQUE).format("right" if side == "R" else "left")
    sentences = [f"{technique}, {_quality(features.exposure, film)}"]
    if said[0]:
        sentences.append(_joint_space(seen, placed[0], measured, space))
    if said[1]:
        sentences.append(_osteophytes(seen, placed[1], spurs))
    where = f" on the {seen.narrower} side" if placed[2] and seen.narrower else ""
    clauses = (
        bone(_SCLEROSIS[seen.sclerosis]) + (where if seen.sclerosis else ""),
        bone(_DEFORMITY[seen.deformity]) + (where if seen.deformity else ""),
        f"alignment {_ALIGNMENT[seen.alignment]}",
    )
    if said[2:5].any():
        sentences.append("; ".join(clause for clause, spoken in zip(clauses, said[2:5], strict=True) if spoken))
    verdict = end(_VERDICT[seen.verdict] if said[5] else _OPEN)
    if said[5] and placed[3] and seen.sicker and seen.verdict > 1:
        verdict += f", mainly {seen.sicker}"
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in (*sentences, verdict))


def reports(table: pd.DataFrame, *, detail: float = 0.7, seed: int = 0) -> list[str]:
    """Report of every row of a table of phantom knees; see `report`.

    The table has the columns of `KneeFeatures.as_row` and ``side``, else `KoaError`. With a column ``draw_seed`` a knee
    keeps its report wherever its row stands; without one, the row's number takes its place.
    """
    missing = [name for name in (*KneeFeatures().as_row(), "side") if name not in table]
    if missing:
        raise KoaError("The table lacks columns.", where=", ".join(missing), remedy="Give the table of phantom knees.")
    own = table.get("draw_seed", range(len(table)))
    return [
        report(KneeFeatures.from_row(row), side=row["side"], detail=detail, seed=(seed, int(number)))
        for row, number in zip(table.to_dict("records"), own, strict=True)
    ]


def _choice(rng: np.random.Generator) -> Callable[[Sequence[str]], str]:
    """Function that picks one of several phrases that mean the same."""
    return lambda phrases: phrases[int(rng.random() * len(phrases))]


def _side_of(surplus: float, least: float) -> str:
    return "medial" if surplus > least else "lateral" if surplus < -least else ""


def _quality(exposure: Exposure, choose: Callable) -> str:
    """Words about the film, which say nothing about the disease."""
    faults = {
        "in part overexposed": exposure.burnt > 0.3 or exposure.glow > 0.7,
        "rather dark": exposure.brightness < 0.45,
        "a little unsharp": exposure.blur > 1.2,
        "slightly rotated": abs(exposure.tilt_deg) > 2.5,
        "cut off by the collimator": exposure.collimation_mm > 3,
    }
    text = " and ".join([fault for fault, present in faults.items() if present][:2]) or choose(_GOOD)
    return text + ("" if exposure.hardware == "none" else f", with a metal {exposure.hardware} in place")


def _joint_space(seen: _Impression, placed: bool, measured: bool, choose: Callable) -> str:
    (worse, name), (better, other) = sorted(zip(seen.space, ("medial", "lateral"), strict=True), reverse=True)
    words = choose(_SPACE[worse])
    if not placed:
        return f"The joint space is {words}"
    if worse == better:
        text = f"The joint space is {words} in both compartments"
    else:
        text = f"The {name} joint space is {words}, the {other} one {choose(_SPACE[better])}"
    if measured:
        rounded = [f"about {round(2 * mm) / 2:.1f} mm" if mm > 0.25 else "less than 0.5 mm" for mm in seen.widths_mm]
        text += f" (medial {rounded[0]}, lateral {rounded[1]})"
    return text


def _osteophytes(seen: _Impression, placed: bool, choose: Callable) -> str:
    worst = max(seen.spurs)
    if not worst:
        return choose(_NO_SPURS)
    if not placed:
        several = sum(step > 1 for step in seen.spurs) > 1
        return f"{choose(_SIZES[worst])} {'marginal osteophytes' if several else 'osteophyte formation'}"
    groups = []
    for step in range(worst, 0, -1):
        sites = [name.replace("_", " ") for name, own in zip(SITES, seen.spurs, strict=True) if own == step]
        if sites:
            listed = " and ".join(filter(None, (", ".join(sites[:-1]), sites[-1])))
            groups.append(f"{choose(_SIZES[step])} osteophytes at the {listed}")
    return "; ".join(groups)
