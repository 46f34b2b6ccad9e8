"""A reader's word on the knee she looks at: saved at once, and never changed afterwards."""

from __future__ import annotations

from contextlib import suppress
from html import escape

import ipywidgets as widgets
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.page.html import wrapped
from koa_kit.workbench.panels.panel import Panel
from koa_kit.workbench.reviews.log import Verdict

NO_LOG = "Make the workbench with log='verdicts.jsonl', or start it by koa explore."
SAID = {"agree": "agrees", "disagree": "disagrees", "bad_image": "bad image"}


class VerdictForm(Panel):
    """Agree, disagree with another grade, bad image; a note; what was said last about this knee.

    Attributes
    ----------
    reader, note
        Who judges, and her note; kept when the knee changes, the note only until it is saved.
    agree, bad, grades
        Buttons: agree, bad image, and one a grade to propose instead of the given one.
    told
        What was said last, or what is missing.
    """

    def __init__(self, bench):
        super().__init__(bench)
        self._row: int | None = None
        self._said: tuple = (None, {})
        self.reader = widgets.Text(placeholder="your name", layout=widgets.Layout(width="130px"))
        self.reader.add_class("koa-reader")
        self.agree = self.button("agree", lambda: self._save("agree"), "koa-agree")
        self.bad = self.button("bad image", lambda: self._save("bad_image"), "koa-bad")
        self.grades = [
            self.button(
                f"KL{grade}", lambda grade=grade: self._save("disagree", grade), f"koa-say-{grade}", width="48px"
            )
            for grade in GRADES
        ]
        self.note = widgets.Textarea(placeholder="note (optional)", layout=widgets.Layout(width="100%", height="52px"))
        self.note.add_class("koa-note")
        self.told = widgets.HTML(layout=widgets.Layout(min_height="44px")).add_class("koa-told")
        row = widgets.Layout(grid_gap="4px", align_items="center", flex_flow="row wrap")
        first = widgets.HBox([self.reader, self.agree, self.bad], layout=row)
        second = widgets.HBox([widgets.Label("I would say"), *self.grades], layout=row)
        self.widget = widgets.VBox([first, second, self.note, self.told])

    def _save(self, answer: str, grade: int | None = None) -> None:
        if self._row is None:
            raise KoaError("There is no knee to judge.", remedy="Pick one in the gallery first.")
        if self.bench.log is None:
            raise KoaError("This workbench keeps no verdicts.", where="log", remedy=NO_LOG)
        if not self.reader.value.strip():
            raise KoaError("Whose verdict is it?", where="your name", remedy="Type your name beside the buttons.")
        knees = self.bench.tables.predictions
        knee, patient = (str(knees[column].iat[self._row]) for column in ("knee_id", "patient"))
        about = {"knee_id": knee, "patient": patient, "kl": int(knees["kl"].iat[self._row])}
        reader, note = self.reader.value.strip(), self.note.value
        self.bench.log.add(Verdict(reader=reader, **about, answer=answer, grade=grade, note=note))
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
            self.told.value = ""
            return
        self.agree.description = f"agree: KL{kl}"
        self.told.value = wrapped(f'<p class="koa-soft">{self._words(self.bench.tables.names[row])}</p>')

    def _words(self, knee: str) -> str:
        if self.bench.log is None:
            return "Verdicts are not kept here: make the workbench with a log."
        return " · ".join(self._by_knee().get(knee, ["No verdict on this knee yet."])[-3:])

    def _by_knee(self) -> dict[str, list[str]]:
        """What was said last of each knee, read again only when the log has grown."""
        path = self.bench.log.path
        size = path.stat().st_size if path.exists() else 0
        if size != self._said[0]:
            told: dict[str, list[str]] = {}
            for row in self.bench.log.latest().itertuples() if size else ():
                told.setdefault(row.knee_id, []).append(f"<b>{escape(row.reader)}</b> {said(row)} ({row.time[:16]})")
            self._said = (size, told)
        return self._said[1]

    def controls(self):
        if self.bench.log is None:
            return []

        def judge():
            before = len(self.bench.log.read())
            reader, self.reader.value = self.reader.value, ""
            with suppress(KoaError):  # refused without a name: nothing is written while the controls are tried
                self._save("agree")
            self.reader.value = reader
            if len(self.bench.log.read()) != before:
                raise RuntimeError("A verdict without a reader was kept.")

        return [("a verdict needs a name", judge)]


def said(row, characters: int = 80) -> str:
    """What a verdict says, as HTML: the answer, a proposed grade, so many `characters` of the note."""
    grade = "" if pd.isna(row.grade) else f": KL{row.grade}"
    note = f" “{escape(row.note[:characters])}”" if row.note else ""
    return f"{SAID[row.answer]}{grade}{note}"
