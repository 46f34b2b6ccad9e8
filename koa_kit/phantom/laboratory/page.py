"""The laboratory's state, the knee it stands for, and both as a picture and as HTML that needs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.phantom.drawing.radiograph import draw_knee
from koa_kit.phantom.knee.features import LATERAL_SURPLUS_MM, OSTEOPHYTES, RANGES, KneeFeatures, Signs, kl_grade
from koa_kit.phantom.knee.records import Exposure, number, sample_build, sample_exposure
from koa_kit.phantom.readers.readers import READERS, consensus_probabilities, grade_probabilities
from koa_kit.phantom.reporting import report
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER

Similarities = Callable[[np.ndarray, Sequence[str]], np.ndarray]

FILMS = {"clear": "clear film", "typical": "film as in a cohort"}

# Size at each of the `OSTEOPHYTES` against the largest, when the disease is medial.
_USUAL_SHARES = (0.8, 1.0, 0.4, 0.5)

PICTURE, SHOWN = 320, 384
"""Pixels that are drawn, and CSS pixels they are shown in."""

_PARTS = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_PARTS.globals |= {"accent": ACCENT, "faint": FAINT, "ink": INK, "paper": PAPER, "shown": SHOWN}
_PARTS.globals |= {"colours": GRADE_COLOURS, "grade_label": grade_label}
part: Any = _PARTS.get_template("page.html").module
"""The macros of ``page.html`` as functions, for example ``part.error("a <b>")``; texts given to them are escaped."""


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
        grown: dict = {name: round(size * share, 1) for name, share in zip(OSTEOPHYTES, shares, strict=True)}
        return replace(self, **grown)


LIMITS = LabState.ranges()
"""Least and greatest value of each number of `LabState`: the ends of its sliders."""


def draw(state: LabState) -> np.ndarray:
    """Radiograph of the state's knee, uint8, `PICTURE` pixels square."""
    return draw_knee(state.features(), side=state.side, size=PICTURE, seed=state.seed)


def png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 ``(H, W)``, as a PNG; packed fast rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def opinions(state: LabState) -> dict[str, np.ndarray]:
    """Exact probability of each grade, ``(5,)``, by ``reader A`` and so on, and of the ``consensus``."""
    knee = state.as_table()
    found = {f"reader {name}": grade_probabilities(knee, one)[0] for name, one in READERS.items()}
    return found | {"consensus": consensus_probabilities(knee)[0]}


def answers(pixels: np.ndarray, side: str, similarities: Similarities) -> np.ndarray:
    """The model's five numbers, float64 ``(2, 5)``, for a radiograph and for its mirror image.

    `similarities` maps uint8 images ``(n, H, W)`` and n sides to probabilities or similarities ``(n, 5)``. The mirror
    image is passed with the other side, which is what it looks like.
    """
    both = np.stack([pixels, pixels[:, ::-1]])
    found = np.asarray(similarities(both, [side, "L" if side == "R" else "R"]), float)
    if found.shape != (2, len(GRADES)) or not np.isfinite(found).all():
        raise KoaError(
            f"The model answered two images with numbers of shape {found.shape}, or not with finite ones.",
            where="similarities",
            remedy="Give a function of images (n, h, w) and sides that returns finite numbers (n, 5).",
        )
    return found


def readings_html(state: LabState, model: np.ndarray | None = None) -> str:
    """The rules' grade, each reader's and the consensus' probabilities, and the model's answers, one bar per grade.

    `model` is ``(2, 5)`` as `answers` gives it. Rows that are not probabilities are shown as similarities, their bars
    running from the least to the greatest of the ten.
    """
    rows = [(name, shares, shares, _percent) for name, shares in opinions(state).items()]
    if model is not None:
        likely = (model >= 0).all() and np.allclose(model.sum(axis=1), 1, atol=1e-3)
        heights = model if likely else (model - model.min()) / max(float(np.ptp(model)), 1e-12)
        text = _percent if likely else "{:.2f}".format
        rows += [(name, *pair, text) for name, *pair in zip(("model", "model, mirrored"), model, heights, strict=True)]
    return part.readings(kl_grade(state), rows)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{abs(share):.0%}"


def report_html(state: LabState) -> str:
    """The report a radiologist might write of this knee."""
    return part.report(report(state.features(), side=state.side, detail=state.detail, seed=state.seed))


def snapshot_html(state: LabState, similarities: Similarities | None = None) -> str:
    """Picture, opinions and report of one state as a page that stays as it is."""
    pixels = draw(state)
    model = None if similarities is None else answers(pixels, state.side, similarities)
    return part.snapshot(base64.b64encode(png(pixels)).decode(), readings_html(state, model), report_html(state))
