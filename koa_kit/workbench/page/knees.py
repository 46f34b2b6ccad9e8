"""Knees as HTML: one large, a page of the gallery, a row of small ones; all with bars of similarity to each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import VIEWS, similarities
from koa_kit.grades import GRADES
from koa_kit.style import GRADE_COLOURS
from koa_kit.workbench.page.html import part
from koa_kit.workbench.page.pictures import png, thumbnail, viewed
from koa_kit.workbench.state import Viewing
from koa_kit.workbench.tables import Numbers

SIDE_NAMES = {"L": "left", "R": "right", "?": "side unknown"}


class KneeViews:
    """The knees of a predictions table as HTML, on one scale of bars; each small picture is made once.

    `find` goes from ``knee_id`` to a radiograph, uint8 ``(H, W)``; without it numbers only are shown. `prompts` are
    five texts or none, `later` goes from ``knee_id`` to (months, grade) of later visits.
    """

    def __init__(
        self,
        knees: pd.DataFrame,
        find: Callable[[object], np.ndarray] | None,
        prompts: Sequence[str],
        later: dict[str, list[tuple[int, int]]],
    ):
        self.knees, self.find, self.prompts, self.later = knees, find, prompts, later
        self.names = knees["knee_id"].astype(str).to_numpy()
        self.thumbnail = lru_cache(maxsize=4096)(lambda knee: thumbnail(find(knee)) if find else "")
        # a bar is empty at the 2nd percentile of all similarities and full at the largest
        every = np.concatenate([similarities(knees, view).ravel() for view in VIEWS])
        self._low, self._high = float(np.percentile(every, 2)), float(every.max())

    def gallery(self, numbers: Numbers, rows: Sequence[int] | np.ndarray) -> str:
        """Cards of some knees that can be picked by ``knee_id``: X-ray, both grades, bars of similarity."""
        bars = (self._bars(numbers, row, mirror=True) for row in rows)
        return part.gallery([self._card(numbers, row) | {"bars": five} for row, five in zip(rows, bars, strict=True)])

    def small(self, numbers: Numbers, rows: Sequence[int], words: Sequence[str]) -> str:
        """A row of small knees that can be picked, each with its grades and a word beneath, for example a cosine."""
        cards = zip(rows, words, strict=True)
        return part.small_knees([self._card(numbers, row) | {"words": word} for row, word in cards])

    def large(self, numbers: Numbers, row: int, viewing: Viewing) -> str:
        """One knee beside its mirror image or the other knee, large, similarity to every prompt beneath."""
        shown = [self._view(numbers, row, viewing, "as it lies")]
        if viewing.beside == "mirror":
            shown.append(self._view(numbers, row, viewing, "mirror image", view=1))
        elif (other := self.other(row)) is None:
            shown.append({"title": "no other knee of this patient", "knee": "", "src": "", "bars": []})
        else:
            shown.append(self._view(numbers, other, viewing, f"the other knee, reader KL{numbers.kl[other]}"))
        name, side, kl = self.names[row], str(self.knees["side"].iat[row]), int(numbers.kl[row])
        lead = f"{name} · {SIDE_NAMES.get(side, side)} knee · reader KL{kl}, model KL{numbers.pred[row]}"
        visits = [(0, kl), *self.later[name]] if name in self.later else []
        steps = [{"years": months // 12, "grade": kl, "colour": GRADE_COLOURS[kl]} for months, kl in visits]
        return part.knee(lead, steps, shown)

    def other(self, row: int) -> int | None:
        """Row of the same patient's other knee; ``None`` where it is not in the table."""
        patient = self.knees["patient"].to_numpy() == self.knees["patient"].iat[row]
        patient[row] = False
        return int(patient.argmax()) if patient.any() else None

    def _card(self, numbers: Numbers, row: int) -> dict:
        name = self.names[row]
        return {"name": name, "src": self.thumbnail(name), "kl": numbers.kl[row], "pred": numbers.pred[row]}

    def _view(self, numbers: Numbers, row: int, viewing: Viewing, title: str, view: int = 0) -> dict:
        """One view of one knee for the template: a title, the model's grade, the radiograph, bars."""
        pixels = viewed(self.find(self.knees["knee_id"].iat[row]), viewing) if self.find else None
        src = "" if pixels is None else png(pixels[:, ::-1] if view else pixels)
        pred = (numbers.pred_flip if view else numbers.pred)[row]
        bars = self._bars(numbers, row, view=view)
        return {"title": title, "knee": self.names[row], "pred": pred, "src": src, "bars": bars}

    def _bars(self, numbers: Numbers, row: int, *, view: int = 0, mirror: bool = False) -> list[dict]:
        """Five bars for the template, of a `view` of a knee; `mirror` marks where its mirror image lies."""
        shares = np.clip((numbers.s[:, row] - self._low) / ((self._high - self._low) or 1), 0, 1)
        pred_flip = int(numbers.pred_flip[row])
        pred, made = pred_flip if view else int(numbers.pred[row]), []
        for grade in GRADES:
            s, p = numbers.s[view, row, grade], numbers.p[view, row, grade]
            words = f"KL{grade}" + (f": {self.prompts[grade]}" if self.prompts else "")
            words += f"\nsimilarity {s:.2f}, p {p:.1%}"
            if mirror:
                words += f"\nflipped: similarity {numbers.s[1, row, grade]:.2f}, p {numbers.p[1, row, grade]:.1%}"
            role = "koa-pred" if grade == pred else "koa-true" if grade == numbers.kl[row] else ""
            width, mark = f"{100 * shares[view, grade]:.0f}", f"{98 * shares[1, grade]:.0f}" if mirror else None
            bar = {"role": role, "words": words, "width": width, "mark": mark, "wins": grade == pred_flip != pred}
            made.append(bar | {"percent": f"{100 * p:.0f}"})
        return made
