"""Knees worth a second look: probable label errors, answers that do not hold, and knees that are nearly the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.label_issues import find_label_issues, unstable
from koa_kit.error_analysis.neighbours import near_duplicates
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, menu

KINDS = {
    "labels": "probable label errors",
    "unstable": "answers that do not hold",
    "duplicates": "knees nearly the same",
}
MOST = 20
MANY = 4000
"""Knees above which only views as they lie are compared with each other."""


class LabelIssuesPanel(Panel):
    """The first `MOST` knees of a ranked list of one of `KINDS`; picking a line opens the knee."""

    title = "Label issues"

    def __init__(self, bench):
        super().__init__(bench)
        self.kind = self.on_value(menu(KINDS, "Show"), lambda _: bench.draw(), "koa-label-issues-kind")
        self.list = self.clickable(bench.open_knee, min_height="420px")
        self.widget = column(self.kind, self.list)
        self._pairs: pd.DataFrame | None = None

    def render(self) -> None:
        bench, kind = self.bench, self.kind.value
        shown = bench.tables.shown(bench.state)
        if not len(shown):
            self.list.html = part.empty("No knee passes the filters.")
        elif kind == "labels":
            self.list.html = labels_html(shown)
        elif kind == "unstable":
            self.list.html = unstable_html(shown)
        elif bench.embeddings is None:
            self.list.html = part.empty("There are no embeddings beside these predictions.")
        else:
            if self._pairs is None:  # of all knees, once: they do not depend on words, decision or filters
                # four times the work for mirrored twins is too long to wait for in a large table
                large = bench.embeddings.ndim == 3 and len(bench.embeddings) > MANY
                vectors = bench.embeddings[:, 0] if large else bench.embeddings
                self._pairs = near_duplicates(vectors, bench.patients, above=0.98)
            table, mask = bench.tables.graded(bench.state), bench.tables.mask(bench.state)
            self.list.html = duplicates_html(table, self._pairs, mask)


def labels_html(shown: pd.DataFrame) -> str:
    """Probable label errors by confident learning, with what it proposes."""
    table = find_label_issues(shown)
    lead = (
        f"{int(table['suspect'].sum()):,} of {len(table):,} knees are suspects of confident learning, which assumes "
        "that the model never met them. It proves nothing: it says where a second look pays most."
    )
    lines = (
        (row.knee_id, f"reader KL{row.kl}, the model would say KL{row.proposed}", f"lead {row.lead:+.2f}")
        for row in table.head(MOST).itertuples()
    )
    return part.soft(lead) + part.listed(lines)


def unstable_html(shown: pd.DataFrame) -> str:
    """Knees whose answer changes most when mirrored."""
    lines = (
        (row.knee_id, f"reader KL{row.kl}: KL{row.pred}, mirrored KL{row.pred_flip}", f"change {row.flip_change:.2f}")
        for row in unstable(shown).head(MOST).itertuples()
    )
    return part.soft("The answer changes most when the knee is mirrored.") + part.listed(lines)


def duplicates_html(table: pd.DataFrame, pairs: pd.DataFrame, mask: np.ndarray) -> str:
    """Pairs of knees with the most similar embeddings, both of which pass the filters."""
    shown = pairs[mask[pairs["first"]] & mask[pairs["second"]]]
    lead = (
        f"{len(shown):,} pairs look nearly the same to the model (cosine .98 and more, at most 200 of all knees). "
        "Two patients in one pair may be one."
    )
    names, kl, lines = table["knee_id"].to_numpy(), table["kl"].to_numpy(), []
    for pair in shown.head(MOST).itertuples():
        patient = "the same patient" if pair.same_patient else "another patient"
        text = f"KL{kl[pair.first]} and {names[pair.second]}, KL{kl[pair.second]}, {patient}"
        lines.append((names[pair.first], text, f"cosine {pair.cosine:.4f}"))
    return part.soft(lead) + part.listed(lines)
