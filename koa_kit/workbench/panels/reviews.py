"""What readers have said so far, how well they agree, and a file to take away."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from koa_kit.errors import KoaError
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, html, side_by_side
from koa_kit.workbench.panels.review_form import NO_LOG, in_words
from koa_kit.workbench.reviews.agreement import reader_agreement

MOST = 15
DRAWS = 1000


class ReviewsPanel(Panel):
    """The last reviews, agreement between readers, and export.

    Attributes
    ----------
    again, export
        Buttons: read the log again (others may write to it), and write it as CSV beside it.
    summary, exported
        Counts and agreement; what was exported.
    list
        The last reviews; picking one opens its knee.
    """

    title = "Reviews"

    def __init__(self, bench):
        super().__init__(bench)
        self.again = self.button("read again", bench.draw, "koa-read-again")
        self.export = self.button("export as CSV", self._export, "koa-export")
        self.summary, self.exported = html("koa-agreement"), html("koa-exported")
        self.list = self.clickable(bench.open_knee)
        buttons = side_by_side(self.again, self.export, self.exported, gap=8)
        self.widget = column(buttons, self.summary, self.list, min_height="420px")

    def _export(self) -> None:
        if self.bench.log is None:
            raise KoaError("No reviews are kept here.", where="log", remedy=NO_LOG)
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
        self.list.html = last_html(everything)


def agreement_html(everything: pd.DataFrame, latest: pd.DataFrame, damaged: list) -> str:
    """Counts of reviews, and quadratic kappa between readers and with the given grades."""
    rows = []
    for row in reader_agreement(latest, draws=DRAWS).itertuples():
        kappa = "–" if np.isnan(row.kappa) else f"{row.kappa:.2f}"
        span = row.explanation if np.isnan(row.low) else f"{row.low:.2f} to {row.high:.2f}"
        share = "–" if np.isnan(row.agreement) else f"{row.agreement:.0%}"
        rows.append([row.first, row.second, row.knees, share, kappa, span])
    heads = ["reader", "and", "knees", "same grade", "kappa", "95 % interval"]
    counted = {"review": len(everything)} | {
        word: everything[name].nunique() for word, name in (("knee", "knee_id"), ("reader", "reader"))
    }
    reviews, on, by = (f"{count:,} {word}{'s' * (count != 1)}" for word, count in counted.items())
    torn = f" {len(damaged)} lines of the log are damaged; they are kept and not counted." if damaged else ""
    lead = part.say(f"{reviews} of {on} by {by}.{torn}")
    caution = "Kappa with quadratic weights; intervals over patients. Readers saw the given grade, so this is no "
    return part.wrapped(lead + part.table(heads, rows)) + part.soft(caution + "independent agreement.")


def last_html(everything: pd.DataFrame) -> str:
    """The last reviews, the newest first, as lines that can be picked by ``knee_id``."""
    lines = (
        part.line(row.knee_id, f"KL{row.kl} {row.reader} {in_words(row, 120)}", row.time[:16].replace("T", " "))
        for row in everything.tail(MOST).iloc[::-1].itertuples()
    )
    return part.wrapped(Markup("").join(lines))
