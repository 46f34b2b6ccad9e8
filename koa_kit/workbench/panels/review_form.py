"""A reader's review of the knee she looks at: saved at once, and never changed afterwards."""

from __future__ import annotations

import ipywidgets as widgets
import pandas as pd
from markupsafe import Markup

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, html, side_by_side
from koa_kit.workbench.reviews.review import Review

NO_LOG = "Make the workbench with log='verdicts.jsonl', or start it by koa explore."
SAID = {"agree": "agrees", "disagree": "disagrees", "bad_image": "bad image"}


class ReviewForm(Panel):
    """Agree, disagree with another grade, bad image; a note; what was said last about this knee.

    Attributes
    ----------
    reader, note
        Who judges, and her note; kept when the knee changes, the note only until it is saved.
    agree, bad, grades
        Buttons: agree, bad image, and one per grade to propose instead of the given one.
    summary
        What was said last, or what is missing.
    """

    def __init__(self, bench):
        super().__init__(bench)
        self._row: int | None = None
        self._said: tuple = (None, {})
        self.reader = widgets.Text(placeholder="your name", layout=widgets.Layout(width="130px")).add_class(
            "koa-reader"
        )
        self.agree = self.button("agree", lambda: self._save("agree"), "koa-agree")
        self.bad = self.button("bad image", lambda: self._save("bad_image"), "koa-bad")
        self.grades = [self._proposal(grade) for grade in GRADES]
        self.note = widgets.Textarea(placeholder="note (optional)", layout=widgets.Layout(width="100%", height="52px"))
        self.note.add_class("koa-note")
        self.summary = html("koa-reviewed", min_height="44px")
        first = side_by_side(self.reader, self.agree, self.bad, gap=4, align="center")
        second = side_by_side(widgets.Label("I would say"), *self.grades, gap=4, align="center")
        self.widget = column(first, second, self.note, self.summary)

    def _proposal(self, grade: int) -> widgets.Button:
        return self.button(f"KL{grade}", lambda: self._save("disagree", grade), f"koa-say-{grade}", width="48px")

    def _save(self, answer: str, grade: int | None = None) -> None:
        reader = self.reader.value.strip()
        if self._row is None:
            raise KoaError("There is no knee to judge.", remedy="Pick one in the gallery first.")
        if self.bench.log is None:
            raise KoaError("This workbench keeps no reviews.", where="log", remedy=NO_LOG)
        if not reader:
            raise KoaError("Whose review is it?", where="your name", remedy="Type your name beside the buttons.")
        knee = self.bench.tables.predictions.iloc[self._row]
        about = {"knee_id": str(knee["knee_id"]), "patient": str(knee["patient"]), "kl": int(knee["kl"])}
        self.bench.log.add(Review(reader=reader, **about, answer=answer, grade=grade, note=self.note.value))
        self.note.value = ""
        self.show(self._row)

    def show(self, row: int | None) -> None:
        """The form for this knee of the predictions table; ``None`` for no knee."""
        self._row = row
        kl = None if row is None else int(self.bench.tables.predictions["kl"].iat[row])
        for grade, button in enumerate(self.grades):
            button.disabled = row is None or grade == kl
        self.agree.disabled = self.bad.disabled = row is None
        if row is None:
            self.summary.value = ""
            return
        self.agree.description = f"agree: KL{kl}"
        self.summary.value = part.wrapped(part.quiet([self._last(self.bench.tables.names[row])]))

    def _last(self, knee: str) -> str:
        """What was said last of a knee; the log is read again only when it has grown."""
        if self.bench.log is None:
            return "Reviews are not kept here: make the workbench with a log."
        size = self.bench.log.size()
        if size != self._said[0]:
            said: dict[str, list[str]] = {}
            for row in self.bench.log.latest().itertuples() if size else ():
                said.setdefault(row.knee_id, []).append(
                    Markup("<b>{}</b> {} ({})").format(row.reader, in_words(row), row.time[:16])
                )
            self._said = (size, said)
        return Markup(" · ").join(self._said[1].get(knee, ["No review of this knee yet."])[-3:])


def in_words(row, characters: int = 80) -> str:
    """What a review says: the answer, a proposed grade, so many `characters` of the note."""
    grade = "" if pd.isna(row.grade) else f": KL{row.grade}"
    note = f" “{row.note[:characters]}”" if row.note else ""
    return f"{SAID[row.answer]}{grade}{note}"
