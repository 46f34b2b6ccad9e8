"""Small line plots as SVG text: drawn in a millisecond, where matplotlib takes a tenth of a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koa_kit.style import FAINT, INK
from koa_kit.workbench.page.html import part

LEFT, RIGHT, TOP, BOTTOM = 52, 26, 30, 42


@dataclass(frozen=True)
class Line:
    """A line of a plot, or points alone (`dots`); its label is written at the last point, above it or `below`."""

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    label: str = ""
    dots: bool = False
    dashed: bool = False
    below: bool = False


def plot(
    lines: Sequence[Line],
    *,
    title: str,
    x: str,
    y: str,
    size: tuple[int, int] = (440, 300),
    xlim: tuple[float, float] = (0, 1),
    ylim: tuple[float, float] = (0, 1),
    xticks: Sequence[tuple[float, str]] | None = None,
) -> str:
    """SVG of some lines, `size` CSS pixels large; what cannot be drawn (nan) is left out, texts are escaped.

    Ticks are round numbers in per cent, or across the places and names in `xticks`.
    """
    width, height = size

    def px(values) -> np.ndarray:
        return LEFT + (np.asarray(values, float) - xlim[0]) / (xlim[1] - xlim[0]) * (width - LEFT - RIGHT)

    def py(values) -> np.ndarray:
        return height - BOTTOM - (np.asarray(values, float) - ylim[0]) / (ylim[1] - ylim[0]) * (height - TOP - BOTTOM)

    across = xticks or [(tick, _percent(tick)) for tick in _ticks(*xlim)]
    edges = (width, height, LEFT, width - RIGHT, TOP, height - BOTTOM)
    names = [(_short(float(px(tick))), name) for tick, name in across]
    heights = [(float(py(tick)), _percent(tick)) for tick in _ticks(*ylim)]
    drawn = [_drawn(line, px(line.x), py(line.y), width) for line in lines]
    return part.plot((title, x, y), edges, (INK, FAINT), names, heights, drawn)


def _drawn(line: Line, x: np.ndarray, y: np.ndarray, width: int) -> dict:
    """A line for the template: its points, and where its label stands."""
    there = np.isfinite(x) & np.isfinite(y)
    points = [(_short(a), _short(b)) for a, b in zip(x[there], y[there], strict=True)]
    drawn = {"points": points, "colour": line.colour, "dots": line.dots, "dashed": line.dashed, "label": ""}
    if points and line.label:
        last, height = x[there][-1], y[there][-1]
        drawn |= {"label": line.label, "start": last < width * 0.62, "at": _short(height + (17 if line.below else -7))}
        # to the left where the right edge would cut it off
        drawn["edge"] = _short(last + (9 if drawn["start"] else -9))
    return drawn


def _short(value: float) -> str:
    return f"{float(value):.1f}"


def _ticks(low: float, high: float) -> np.ndarray:
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - rough))
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step


def _percent(value: float) -> str:
    return f"{100 * (0.0 if abs(value) < 1e-9 else value):.0f} %"  # else a minus may stand before 0
