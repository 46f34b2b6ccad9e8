"""Readers' reviews: the form for the knee one looks at, what was said so far, how well readers agree, and a file."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pandas as pd
from markupsafe import Markup

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, html, side_by_side
from koa_kit.workbench.reviews.agreement import reader_agreement
from koa_kit.workbench.reviews.review import Review

MOST = 15
DRAWS = 1000
NO_LOG = "Make the workbench with log='verdicts.jsonl', or start it by koa explore."
SAID = {"agree": "agrees", "disagree": "disagrees", "bad_image": "bad image"}


class ReviewForm(Panel):
    """Agree, propose another grade, or bad image; a note, kept until it is saved; what was said last of the knee."""

    def __init__(self, bench):
        super().__init__(bench)
        self._row: int | None = None
        self._said: tuple = (None, {})
        self.reader = widgets.Text(placeholder="your name", layout=widgets.Layout(width="130px"))
        self.agree = self.button("agree", lambda: self._save("agree"), "koa-agree")
        self.bad = self.button("bad image", lambda: self._save("bad_image"), "koa-bad")
        self.grades = [
            self.button(f"KL{grade}", lambda grade=grade: self._save("disagree", grade), f"koa-say-{grade}", "48px")
            for grade in GRADES
        ]
        self.note = widgets.Textarea(placeholder="note (optional)", layout=widgets.Layout(width="100%", height="52px"))
        self.summary = html("koa-reviewed", min_height="44px")
        reader = self.reader.add_class("koa-reader")
        first = side_by_side(reader, self.agree, self.bad, gap=4, align="center")
        second = side_by_side(widgets.Label("I would say"), *self.grades, gap=4, align="center")
        self.widget = column(first, second, self.note.add_class("koa-note"), self.summary)

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
        log = self.bench.log
        if log is None:
            return "Reviews are not kept here: make the workbench with a log."
        size = log.size()
        if size != self._said[0]:
            said: dict[str, list[str]] = {}
            for row in log.latest().itertuples() if size else ():
                words = Markup("<b>{}</b> {} ({})").format(row.reader, in_words(row), row.time[:16])
                said.setdefault(row.knee_id, []).append(words)
            self._said = (size, said)
        return Markup(" · ").join(self._said[1].get(knee, ["No review of this knee yet."])[-3:])


class ReviewsPanel(Panel):
    """The last reviews, each of which opens its knee, agreement between readers, and export as CSV beside the log."""

    title = "Reviews"

    def __init__(self, bench):
        super().__init__(bench)
        self.again = self.button("read again", bench.draw, "koa-read-again")  # others may write to the log
        self.export = self.button("export as CSV", self._export, "koa-export")
        self.summary, self.exported = html("koa-agreement"), html("koa-exported")
        self.list = self.clickable(bench.open_knee)
        buttons = side_by_side(self.again, self.export, self.exported, gap=8)
        self.widget = column(buttons, self.summary, self.list, min_height="420px")

    def _export(self) -> None:
        path = self.bench.log.path.with_suffix(".csv")
        count = self.bench.log.export_csv(path)
        self.exported.value = part.soft(f"{count:,} reviews in {path.name}")

    def render(self) -> None:
        log = self.bench.log
        self.again.disabled = self.export.disabled = log is None
        everything = pd.DataFrame() if log is None else log.read()
        if everything.empty:
            how = "No review yet: pick a knee in the first tab, type your name, and press agree or a grade."
            self.summary.value = part.empty(f"No reviews are kept. {NO_LOG}" if log is None else how)
            self.list.html = ""
            return
        self.summary.value = agreement_html(everything, log.latest(), log.damaged)
        newest = everything.tail(MOST).iloc[::-1].itertuples()
        self.list.html = part.listed(
            (row.knee_id, f"KL{row.kl} {row.reader} {in_words(row, 120)}", row.time[:16].replace("T", " "))
            for row in newest
        )


def in_words(row, characters: int = 80) -> str:
    """What a review says: the answer, a proposed grade, so many `characters` of the note."""
    grade = "" if pd.isna(row.grade) else f": KL{row.grade}"
    note = f" “{row.note[:characters]}”" if row.note else ""
    return f"{SAID[row.answer]}{grade}{note}"


def agreement_html(everything: pd.DataFrame, latest: pd.DataFrame, damaged: dict) -> str:
    """Counts of reviews, and quadratic kappa between readers and with the given grades."""
    rows = []
    for row in reader_agreement(latest, draws=DRAWS).itertuples():
        kappa = "–" if np.isnan(row.kappa) else f"{row.kappa:.2f}"
        span = row.explanation if np.isnan(row.low) else f"{row.low:.2f} to {row.high:.2f}"
        share = "–" if np.isnan(row.agreement) else f"{row.agreement:.0%}"
        rows.append([row.first, row.second, row.knees, share, kappa, span])
    heads = ["reader", "and", "knees", "same grade", "kappa", "95 % interval"]
    counted = (len(everything), everything["knee_id"].nunique(), everything["reader"].nunique())
    reviews, on, by = (
        f"{count:,} {word}{'s' * (count != 1)}"
        for count, word in zip(counted, ("review", "knee", "reader"), strict=True)
    )
    torn = f" {len(damaged)} lines of the log are damaged; they are kept and not counted." if damaged else ""
    lead = part.say(f"{reviews} of {on} by {by}.{torn}")
    caution = "Kappa with quadratic weights; intervals over patients. Readers saw the given grade, so this is no "
    return part.wrapped(lead + part.table(heads, rows)) + part.soft(caution + "independent agreement.")
