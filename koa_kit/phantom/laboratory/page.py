"""The laboratory's state as a picture and as HTML that needs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.phantom.drawing.radiograph import draw_knee
from koa_kit.phantom.knee.features import kl_grade
from koa_kit.phantom.laboratory.state import LabState
from koa_kit.phantom.readers.readers import READERS, consensus_probabilities, grade_probabilities
from koa_kit.phantom.reporting import report
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, PAPER

Similarities = Callable[[np.ndarray, Sequence[str]], np.ndarray]

PICTURE, SHOWN = 320, 384
"""Pixels that are drawn, and CSS pixels they are shown in."""

_PARTS = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_PARTS.globals |= {"accent": ACCENT, "faint": FAINT, "ink": INK, "paper": PAPER, "shown": SHOWN}
_PARTS.globals |= {"colours": GRADE_COLOURS, "grade_label": grade_label}
part = _PARTS.get_template("page.html").module
"""The macros of ``page.html`` as functions, for example ``part.error("a <b>")``; texts given to them are escaped."""


def draw(state: LabState, size: int = PICTURE) -> np.ndarray:
    """Radiograph of the state's knee, uint8 ``(size, size)``."""
    return draw_knee(state.features(), side=state.side, size=size, seed=state.seed)


def png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 ``(H, W)``, as a PNG; packed fast rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def opinions(state: LabState) -> dict[str, np.ndarray]:
    """Exact probability of each grade, ``(5,)``, by each reader (``A``, ``B``, ``C``) and of ``consensus``."""
    knee = state.as_table()
    found = {name: grade_probabilities(knee, one)[0] for name, one in READERS.items()}
    return found | {"consensus": consensus_probabilities(knee)[0]}


def answers(pixels: np.ndarray, side: str, similarities: Similarities) -> np.ndarray:
    """The model's five numbers, float64 ``(2, 5)``, for a radiograph and for its mirror image.

    `similarities` is a function of uint8 images ``(n, H, W)`` and n sides that returns probabilities or similarities
    ``(n, 5)``, else `KoaError`. The mirror image is passed with the other side, which is what it looks like.
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
    rows = [
        (name if name == "consensus" else f"reader {name}", shares, shares, _percent)
        for name, shares in opinions(state).items()
    ]
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
