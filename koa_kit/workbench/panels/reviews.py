"""Readers' reviews: what was said so far, how well readers agree, and a file."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, html, side_by_side
from koa_kit.workbench.panels.review_form import NO_LOG
from koa_kit.workbench.reviews.agreement import reader_agreement
from koa_kit.workbench.reviews.review import in_words

MOST = 15
DRAWS = 1000


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
