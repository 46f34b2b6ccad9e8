"""What a knee looks like in a list: a small radiograph, and bars of similarity to each prompt; all text is escaped."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, similarities
from koa_kit.style import INK, PAPER
from koa_kit.workbench.page.style import FULL_SHADE, THUMB

GREY_LEVELS = 32
SIDE_NAMES = {"L": "left", "R": "right", "?": "side unknown"}


def thumbnail(pixels: np.ndarray) -> str:
    """PNG data URI of an X-ray, uint8 ``(H, W)``, longest side at most `THUMB` pixels, `GREY_LEVELS` levels of grey."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    step = 256 // GREY_LEVELS
    levels = np.asarray(picture) // step * step + np.asarray(picture) // step * step // (256 - step) * (step - 1)
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def shade(share: float) -> tuple[str, str]:
    """Background and text colour of a matrix cell that holds this share, 0 to 1, of its row."""
    low, high = (np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) for colour in ("#f3f6f9", FULL_SHADE))
    mixed = np.rint(low + (high - low) * share).astype(int)
    return "#{:02x}{:02x}{:02x}".format(*mixed), PAPER if share > 0.5 else INK


def bar_scale(predictions: pd.DataFrame) -> tuple[float, float]:
    """Similarities at which a bar is empty (2nd percentile of all) and full (the largest), one scale for all knees."""
    every = np.concatenate([similarities(predictions, view).ravel() for view in VIEWS])
    return float(np.percentile(every, 2)), float(every.max())


def bars_html(own, flipped, scale, true: int, pred: int, prompts) -> str:
    """Five bars: similarity to each prompt, probability beside it, and a mark where the mirror image lies.

    Parameters
    ----------
    own, flipped
        Similarities and probabilities ``(5,)`` of a view, `flipped` also with its grade; it may be ``None``.
    scale
        Similarities at which a bar is empty and full.
    true, pred
        The reader's grade and the model's.
    prompts
        Five texts, or none.
    """
    low, high = scale
    rows = []
    for grade, (s, p) in enumerate(zip(*own, strict=True)):
        words = f"KL{grade}" + (f": {prompts[grade]}" if prompts else "") + f"\nsimilarity {s:.2f}, p {p:.1%}"
        mark = ""
        if flipped is not None:
            s_flip, p_flip = flipped[0][grade], flipped[1][grade]
            wins = ' class="koa-wins"' if grade == flipped[2] != pred else ""
            words += f"\nflipped: similarity {s_flip:.2f}, p {p_flip:.1%}"
            mark = f'<s{wins} style="left:{98 * _share(s_flip, low, high):.0f}%"></s>'
        role = "koa-pred" if grade == pred else "koa-true" if grade == true else ""
        rows.append(
            f'<div class="koa-bar {role}" title="{escape(words)}">{grade}'
            f'<u><i style="width:{100 * _share(s, low, high):.0f}%"></i>{mark}</u><em>{100 * p:.0f}</em></div>'
        )
    return "".join(rows)


def _share(s: float, low: float, high: float) -> float:
    return float(np.clip((s - low) / ((high - low) or 1), 0, 1))
