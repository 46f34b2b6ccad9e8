"""What readers have said so far, how well they agree, and a file to take away."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd

from koa_kit.errors import KoaError
from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import empty, line, say, soft, table, wrapped
from koa_kit.workbench.panels.panel import Panel
from koa_kit.workbench.panels.review_form import NO_LOG, said
from koa_kit.workbench.reviews.agreement import GIVEN, reader_agreement

MOST = 15
DRAWS = 1000


class VerdictsPanel(Panel):
    """The last verdicts, agreement between readers, and export.

    Attributes
    ----------
    again, export
        Buttons: read the log again (others may write to it), and write it as CSV beside it.
    told
        Counts, agreement and what was exported.
    list
        The last verdicts; picking one opens its knee.
    """

    title = "Verdicts"

    def __init__(self, bench):
        super().__init__(bench)
        self.again = self.button("read again", bench.draw, "koa-read-again")
        self.export = self.button("export as CSV", self._export, "koa-export")
        self.told = widgets.HTML().add_class("koa-agreement")
        self.exported = widgets.HTML().add_class("koa-exported")
        self.list = ClickableHTML().on_pick(lambda knee: bench.guard(lambda: bench.open_knee(knee)))
        buttons = widgets.HBox([self.again, self.export, self.exported], layout=widgets.Layout(grid_gap="8px"))
        self.widget = widgets.VBox([buttons, self.told, self.list], layout=widgets.Layout(min_height="420px"))

    def _export(self) -> None:
        if self.bench.log is None:
            raise KoaError("No verdicts are kept here.", where="log", remedy=NO_LOG)
        path = self.bench.log.path.with_suffix(".csv")
        count = self.bench.log.export_csv(path)
        self.exported.value = soft(f"{count:,} verdicts in {path.name}")

    def render(self) -> None:
        log = self.bench.log
        self.again.disabled = self.export.disabled = log is None
        everything = None if log is None else log.read()
        if everything is None or everything.empty:
            how = "No verdict yet: pick a knee in the first tab, type your name, and press agree or a grade."
            self.told.value, self.list.html = empty(f"No verdicts are kept. {NO_LOG}" if log is None else how), ""
            return
        self.told.value = agreement_html(everything, log.latest(), log.damaged)
        self.list.html = last_html(everything)

    def controls(self):
        return [("read again", self.again.click)]


def agreement_html(everything: pd.DataFrame, latest: pd.DataFrame, damaged: list) -> str:
    """Counts of verdicts, and quadratic kappa between readers and with the given grades."""
    rows = []
    for row in reader_agreement(latest, draws=DRAWS).itertuples():
        second = "given grade" if row.second == GIVEN else escape(row.second)
        kappa = "–" if np.isnan(row.kappa) else f"{row.kappa:.2f}"
        span = escape(row.explanation) if np.isnan(row.low) else f"{row.low:.2f} to {row.high:.2f}"
        share = "–" if np.isnan(row.agreement) else f"{row.agreement:.0%}"
        rows.append([escape(row.first), second, f"{row.knees}", share, kappa, span])
    heads = ["reader", "beside", "knees", "same grade", "kappa", "95 % interval"]
    torn = f" {len(damaged)} lines of the log are damaged; they are kept and not counted." if damaged else ""
    knees, readers = everything["knee_id"].nunique(), everything["reader"].nunique()
    counted = ((len(everything), "verdict"), (knees, "knee"), (readers, "reader"))
    verdicts, on, by = (f"{count:,} {word}{'s' * (count != 1)}" for count, word in counted)
    lead = f"{verdicts} on {on} by {by}.{torn}"
    caution = "Kappa with quadratic weights; intervals over patients. Readers saw the given grade, so this is no "
    return wrapped(say(lead) + table(heads, rows)) + soft(caution + "independent agreement.")


def last_html(everything: pd.DataFrame) -> str:
    """The last verdicts, the newest first, as lines that can be picked by ``knee_id``."""
    lines = []
    for row in everything.tail(MOST).iloc[::-1].itertuples():
        words = f"<b>{escape(row.knee_id)}</b> KL{row.kl} {escape(row.reader)} {said(row, 120)}"
        lines.append(line(row.knee_id, words, row.time[:16].replace("T", " ")))
    return wrapped("".join(lines))
