"""Knees worth a second look: probable label errors, answers that do not hold, and knees that are nearly the same."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets
import pandas as pd

from koa_kit.error_analysis.label_issues import suspects, unstable
from koa_kit.error_analysis.neighbours import near_duplicates
from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import empty, line, soft, wrapped
from koa_kit.workbench.panels.panel import Panel

KINDS = {
    "labels": "probable label errors",
    "unstable": "answers that do not hold",
    "duplicates": "knees nearly the same",
}
MOST = 20
MANY = 4000
"""Knees above which only views as they lie are compared with each other."""


class SuspectsPanel(Panel):
    """A ranked list; picking a line opens the knee.

    Attributes
    ----------
    kind
        One of `KINDS`.
    list
        Its first `MOST` lines.
    """

    title = "Suspects"

    def __init__(self, bench):
        super().__init__(bench)
        self.kind = widgets.Dropdown(options=[(b, a) for a, b in KINDS.items()], description="Show")
        self.on_value(self.kind, lambda _: bench.draw()).add_class("koa-suspects-kind")
        self.list = ClickableHTML().on_pick(lambda knee: bench.guard(lambda: bench.open_knee(knee)))
        self.list.layout = widgets.Layout(min_height="420px")
        self.widget = widgets.VBox([self.kind, self.list])
        self._pairs: pd.DataFrame | None = None

    def render(self) -> None:
        tables, state = self.bench.tables, self.bench.state
        shown = tables.shown(state)
        if not len(shown):
            self.list.html = empty("No knee passes the filters.")
        elif self.kind.value == "labels":
            self.list.html = labels_html(shown)
        elif self.kind.value == "unstable":
            self.list.html = unstable_html(shown, self.bench.steady)
        elif self.bench.embeddings is None:
            self.list.html = empty("There are no embeddings beside these predictions.")
        else:
            if self._pairs is None:  # of all knees, once: they do not depend on words, decision or filters
                vectors = self.bench.embeddings
                # four times the work for mirrored twins is too long to wait for in a large table
                vectors = vectors[:, 0] if vectors.ndim == 3 and len(vectors) > MANY else vectors
                self._pairs = near_duplicates(vectors, self.bench.patients, above=0.98)
            self.list.html = duplicates_html(tables.graded(state), self._pairs, tables.mask(state))

    def controls(self):
        def show(kind):
            self.kind.value = kind

        return [(KINDS[kind], lambda kind=kind: show(kind)) for kind in ("unstable", "duplicates", "labels")]


def labels_html(shown: pd.DataFrame) -> str:
    """Probable label errors by confident learning, with what it proposes."""
    table = suspects(shown)
    count = int(table["suspect"].sum())
    say = (
        f"{count:,} of {len(table):,} knees are suspects of confident learning, which assumes that the model never met "
        "them. It proves nothing: it says where a second look pays most."
    )
    rows = [
        (row.knee_id, f"reader KL{row.kl}, the model would say KL{row.proposed}", f"lead {row.lead:+.2f}")
        for row in table.head(MOST).itertuples()
    ]
    return _list(say, rows)


def unstable_html(shown: pd.DataFrame, steady: pd.DataFrame | None) -> str:
    """Knees whose answer changes most when mirrored or, where known, moved and re-exposed a little."""
    known = None if steady is None else steady[steady["knee_id"].isin(shown["knee_id"])]
    known = known if known is not None and len(known) == len(shown) else None
    table = unstable(shown, known)
    say = "The answer changes most when the knee is mirrored" + (
        "." if known is None else ", or moved and re-exposed a little."
    )
    rows = [
        (row.knee_id, f"reader KL{row.kl}: KL{row.pred}, mirrored KL{row.pred_flip}", f"change {row.flip_change:.2f}")
        for row in table.head(MOST).itertuples()
    ]
    return _list(say, rows)


def duplicates_html(table: pd.DataFrame, pairs: pd.DataFrame, mask) -> str:
    """Pairs of knees with the most similar embeddings, both of which pass the filters."""
    shown = pairs[mask[pairs["first"]] & mask[pairs["second"]]]
    say = (
        f"{len(shown):,} pairs look nearly the same to the model (cosine .98 and more, at most 200 of all knees). "
        "Two patients in one pair may be one."
    )
    names, kl = table["knee_id"].to_numpy(), table["kl"].to_numpy()
    rows = [
        (
            names[pair.first],
            f"KL{kl[pair.first]} and {names[pair.second]}, KL{kl[pair.second]}"
            + (", the same patient" if pair.same_patient else ", another patient"),
            f"cosine {pair.cosine:.4f}",
        )
        for pair in shown.head(MOST).itertuples()
    ]
    return _list(say, rows)


def _list(say: str, rows: list[tuple[object, str, str]]) -> str:
    lines = [line(knee, f"<b>{escape(str(knee))}</b> {escape(text)}", number) for knee, text, number in rows]
    return soft(say) + wrapped("".join(lines))
