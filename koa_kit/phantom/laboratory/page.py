"""The laboratory's state as a picture and as HTML that needs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

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

_BAR, _ROW = 24, 46

STYLE = f"""<style>
.koa-lab .widget-readout{{min-width:32px;max-width:32px;padding:0;text-align:right}}
.koa-lab .jupyter-widget-Collapse-header{{padding:4px 8px}}
.koa-lab .jupyter-widget-Collapse-contents{{padding:4px}}
.koa-lab-part{{font:13px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:{INK};
 background:{PAPER};box-sizing:border-box}}
.koa-lab-part *{{box-sizing:border-box}}
.koa-lab-part table.koa-lab-table{{border-collapse:collapse;border:0;margin:0;width:278px;table-layout:fixed;
 font:inherit;color:inherit}}
.koa-lab-part .koa-lab-table tr{{background:none;border:0}}
.koa-lab-part .koa-lab-table th,.koa-lab-part .koa-lab-table td{{padding:0;border:0;background:none;text-align:center;
 font-weight:400;vertical-align:bottom}}
.koa-lab-part .koa-lab-table thead th{{height:22px;font-weight:600;font-size:12px}}
.koa-lab-part .koa-lab-table tbody th{{width:76px;text-align:left;font-size:12.5px;line-height:1.2;
 vertical-align:middle;white-space:normal}}
.koa-lab-part .koa-lab-table tbody td{{height:{_ROW}px;cursor:help}}
.koa-lab-part .koa-lab-table tr+tr th,.koa-lab-part .koa-lab-table tr+tr td{{border-top:1px solid {FAINT}}}
.koa-lab-part .koa-lab-cell{{display:flex;flex-direction:column;justify-content:flex-end;align-items:center;
 height:100%}}
.koa-lab-part .koa-lab-cell i{{display:block;width:28px;flex:none}}
.koa-lab-part .koa-lab-cell span{{font-size:11px;line-height:16px;font-variant-numeric:tabular-nums;color:{INK}c0}}
.koa-lab-part .koa-lab-top span{{font-weight:700;color:{INK}}}
.koa-lab-part .koa-lab-rule i{{width:15px;height:15px;border-radius:50%;margin-bottom:14px}}
.koa-lab-part .koa-lab-say{{font-size:15px;line-height:20px;font-weight:600;margin:0 0 4px;white-space:nowrap}}
.koa-lab-part .koa-lab-report{{border-left:3px solid {FAINT};padding:2px 0 2px 12px;margin:0;font-size:14px;
 max-width:640px}}
.koa-lab-part .koa-lab-error{{border-left:4px solid {ACCENT};padding:6px 12px;white-space:pre-wrap}}
.koa-lab-part .koa-lab-still{{display:flex;gap:20px;flex-wrap:wrap;align-items:flex-start;margin-bottom:10px}}
.koa-lab-part .koa-lab-still img{{width:{SHOWN}px;height:{SHOWN}px;margin:0}}
.koa-lab-part .koa-lab-soft{{color:{INK}b8;margin:6px 0 0}}
</style>"""
"""The laboratory's look; every rule under ``.koa-lab`` or ``.koa-lab-part`` so that no page around it changes."""


def draw(state: LabState, size: int = PICTURE) -> np.ndarray:
    """Radiograph of the state's knee, uint8 ``(size, size)``."""
    return draw_knee(state.features(), side=state.side, size=size, seed=state.seed)


def png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 ``(H, W)``, as a PNG; packed fast rather than small."""
    from PIL import Image

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
    rule = kl_grade(state)
    heads = "".join(f'<th style="color:{GRADE_COLOURS[grade]}">KL{grade}</th>' for grade in GRADES)
    dot = f'<div class="koa-lab-cell koa-lab-rule"><i style="background:{GRADE_COLOURS[rule]}"></i></div>'
    dot = f'<td title="{grade_label(rule)} by the rules of kl_grades">{dot}</td>'
    rows = [_row("the rules", [dot if grade == rule else "<td></td>" for grade in GRADES])]
    for name, shares in opinions(state).items():
        rows.append(_row(name if name == "consensus" else f"reader {name}", _bars(shares, shares, _percent)))
    if model is not None:
        likely = (model >= 0).all() and np.allclose(model.sum(axis=1), 1, atol=1e-3)
        heights = model if likely else (model - model.min()) / max(float(np.ptp(model)), 1e-12)
        for name, numbers, own in zip(("model", "model, mirrored"), model, heights, strict=True):
            rows.append(_row(name, _bars(own, numbers, _percent if likely else "{:.2f}".format)))
    return (
        f'<div class="koa-lab-part"><p class="koa-lab-say">By the rules {escape(grade_label(rule))}</p>'
        f'<table class="koa-lab-table" aria-label="who gives which grade"><thead><tr><th style="width:76px"></th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>"


def _bars(heights: np.ndarray, numbers: np.ndarray, text: Callable[[float], str]) -> list[str]:
    cells = []
    for grade, (height, number) in enumerate(zip(heights, numbers, strict=True)):
        top = " koa-lab-top" if grade == int(np.argmax(heights)) else ""
        bar = f'<i style="height:{max(1.0, _BAR * float(height)):.1f}px;background:{GRADE_COLOURS[grade]}"></i>'
        cells.append(
            f'<td title="{escape(grade_label(grade))}: {number:.3f}">'
            f'<div class="koa-lab-cell{top}">{bar}<span>{text(number)}</span></div></td>'
        )
    return cells


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{abs(share):.0%}"


def report_html(state: LabState) -> str:
    """The report a radiologist might write of this knee."""
    text = report(state.features(), side=state.side, detail=state.detail, seed=state.seed)
    return f'<div class="koa-lab-part"><p class="koa-lab-report">{escape(text)}</p></div>'


def error_html(error: Exception) -> str:
    """An error as the reader sees it in the page."""
    return (
        f'<div class="koa-lab-part"><div class="koa-lab-error">{escape(f"{type(error).__name__}: {error}")}</div></div>'
    )


def snapshot_html(state: LabState, similarities: Similarities | None = None) -> str:
    """Picture, opinions and report of one state as a page that stays as it is."""
    pixels = draw(state)
    source = "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
    model = None if similarities is None else answers(pixels, state.side, similarities)
    return (
        f'{STYLE}<div class="koa-lab-part"><div class="koa-lab-still">'
        f'<img src="{source}" alt="X-ray of a synthetic knee">'
        f"{readings_html(state, model)}</div>{report_html(state)}"
        '<p class="koa-lab-soft">A still picture of the laboratory. Run the notebook to move its sliders.</p></div>'
    )
