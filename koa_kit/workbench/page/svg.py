"""Small line plots as SVG text: drawn in a millisecond, where matplotlib takes a tenth of a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

from koa_kit.style import FAINT, INK

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
    percent: bool = True,
    xticks: Sequence[tuple[float, str]] | None = None,
) -> str:
    """SVG of some lines; what cannot be drawn (nan) is left out.

    Parameters
    ----------
    title, x, y
        Title, and names of the axes; escaped.
    size
        Width and height in CSS pixels.
    xlim, ylim
        Ends of the axes.
    percent
        Write ticks as per cent.
    xticks
        Places and names of the ticks across; omitted, round numbers.
    """
    width, height = size

    def px(values) -> np.ndarray:
        return LEFT + (np.asarray(values, float) - xlim[0]) / (xlim[1] - xlim[0]) * (width - LEFT - RIGHT)

    def py(values) -> np.ndarray:
        return height - BOTTOM - (np.asarray(values, float) - ylim[0]) / (ylim[1] - ylim[0]) * (height - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="16" font-weight="600" font-size="13">{escape(title)}</text>']
    for tick in _ticks(*ylim):
        at = py(tick)
        parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_tick(tick, percent)}</text>')
    for tick, name in xticks or [(tick, _tick(tick, percent)) for tick in _ticks(*xlim)]:
        at, under = f"{px(tick):.1f}", height - BOTTOM + 16
        parts.append(f'<text x="{at}" y="{under}" text-anchor="middle">{escape(name)}</text>')
    middle = (LEFT + width - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{escape(x)}</text>')
    half = (TOP + height - BOTTOM) / 2
    parts.append(
        f'<text x="13" y="{half:.0f}" text-anchor="middle" transform="rotate(-90 13 {half:.0f})">{escape(y)}</text>'
    )
    for line in lines:
        parts.append(_drawn(line, px(line.x), py(line.y), width))
    return Markup(
        f'<svg class="koa-plot" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="inherit" font-size="11.5" fill="{INK}">{"".join(parts)}</svg>'
    )


def _drawn(line: Line, x: np.ndarray, y: np.ndarray, width: int) -> str:
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if not len(x):
        return ""
    parts = []
    if line.dots:
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="5" fill="{line.colour}"/>' for a, b in zip(x, y, strict=True)]
    else:
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>')
    if line.label:
        # to the left where the right edge would cut it off
        right = x[-1] < width * 0.62
        side = f'x="{x[-1] + 9:.1f}"' if right else f'x="{x[-1] - 9:.1f}" text-anchor="end"'
        at = y[-1] + (17 if line.below else -7)
        parts.append(f'<text {side} y="{at:.1f}" fill="{line.colour}">{escape(line.label)}</text>')
    return "".join(parts)


def _ticks(low: float, high: float) -> np.ndarray:
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - rough))
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step


def _tick(value: float, percent: bool) -> str:
    value = 0.0 if abs(value) < 1e-9 else value  # else a minus may stand before 0
    return f"{100 * value:.0f} %" if percent else f"{value:g}"
