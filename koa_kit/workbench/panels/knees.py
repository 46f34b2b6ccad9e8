"""Confusion matrix, gallery and one knee large: pick a cell, pick a knee, look."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets as widgets
import numpy as np

from koa_kit.error_analysis.gallery import SORTS
from koa_kit.error_analysis.neighbours import nearest
from koa_kit.workbench.page import figures
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, html, menu, side_by_side, wide
from koa_kit.workbench.panels.review_form import ReviewForm
from koa_kit.workbench.state import BESIDE, MATRICES, Viewing
from koa_kit.workbench.tables import page_count

NEIGHBOURS = 5


class KneesPanel(Panel):
    """Linked matrix, gallery and large view, with neighbours to pick and the form for a reader's review."""

    title = "Knees"

    def __init__(self, bench):
        super().__init__(bench)
        self.matrix = self.clickable(self._pick_cell)
        self.mode, self.sort = menu(MATRICES, "Cells", **wide(300, 50)), menu(SORTS, "Order", **wide(300, 50))
        self.on_value(self.mode, lambda value: bench.show(matrix=value), "koa-matrix")
        self.on_value(self.sort, lambda value: bench.show(sort=value), "koa-sort")
        self.gallery = self.clickable(lambda knee: bench.show(knee=knee), min_height="300px")
        self.gallery.observe(lambda change: bench.guard(lambda: self._turn(change["new"]["by"])), "turned")
        self.previous = self.button("← previous", lambda: self._turn(-1), "koa-previous")
        self.next = self.button("next →", lambda: self._turn(1), "koa-next")
        self.where, self.headline = html(), html("koa-headline", min_height="54px")
        self.review = ReviewForm(bench)
        left = column(self.matrix, self.mode, self.sort, flex="0 0 auto")
        right = column(self.headline, self.review.widget, flex="1 1 330px")
        pager = side_by_side(self.previous, self.next, self.where, gap=8)
        legend = widgets.HTML(part.legend(bench.find is not None, bool(bench.prompts)))
        self.widget = column(side_by_side(left, right, gap=24), self._large(), pager, self.gallery, legend)

    def _large(self) -> widgets.HBox:
        self.level = widgets.FloatSlider(min=0, max=255, value=127.5, step=0.5, description="Level", **wide(290, 56))
        self.window = widgets.FloatSlider(min=8, max=256, value=256, step=1, description="Window", **wide(290, 56))
        self.inverted = widgets.Checkbox(description="inverted", indent=False)
        self.beside = menu(BESIDE, "Beside", **wide(290, 56))
        for name in ("level", "window", "inverted", "beside"):
            self.on_value(getattr(self, name), partial(self._view, name), f"koa-view-{name}")
        self.reset = self.button("reset", lambda: self.bench.show(viewing=Viewing()), "koa-view-reset", width="70px")
        self.knee = html("koa-knee", min_height="480px", flex="0 0 622px")
        self.neighbours = self.clickable(lambda knee: self.bench.show(knee=knee))
        lights = [self.level, self.window, widgets.HBox([self.inverted, self.reset])] if self.bench.find else []
        side = column(self.beside, *lights, self.neighbours, flex="1 1 290px", width="300px")
        return side_by_side(self.knee, side, gap=8)

    def _view(self, name: str, value: Any) -> None:
        self.bench.show(viewing=replace(self.bench.state.viewing, **{name: value}))

    def _pick_cell(self, value: str) -> None:
        true, pred = figures.picked_cell(value)
        self.bench.show(true=true, pred=pred, knee="")

    def _turn(self, by: int) -> None:
        chosen = self.bench.tables.chosen(self.bench.state)
        page = int(np.clip(self.bench.state.page + by, 0, page_count(len(chosen)) - 1))
        self.bench.show(page=page, knee="")

    def render(self) -> None:
        bench, state, tables = self.bench, self.bench.state, self.bench.tables
        counts, chosen, shown = tables.counts(state), tables.chosen(state), tables.page(state)
        self.matrix.html = figures.matrix_html(counts, tables.change(state), state)
        self.matrix.chosen = f"{state.true},{'' if state.pred is None else state.pred}"
        self.headline.value = part.wrapped(part.say(figures.headline(counts, state)))
        self.gallery.html = (
            bench.views.gallery(tables.numbers(state), shown) if len(shown) else figures.empty_html(counts, state)
        )
        self.where.value = part.soft(figures.pages_text(len(chosen), state.page))
        self.previous.disabled = state.page == 0
        self.next.disabled = state.page >= page_count(len(chosen)) - 1
        with self.syncing():
            self.mode.value, self.sort.value = state.matrix, state.sort
            for name in ("level", "window", "inverted", "beside"):
                getattr(self, name).value = getattr(state.viewing, name)
        row = tables.row(state)
        self.gallery.chosen = "" if row is None else tables.names[row]
        self.review.show(row)
        self.knee.value = "" if row is None else bench.large(row)
        self.neighbours.html = "" if row is None else self._neighbours(row)

    def _neighbours(self, row: int) -> str:
        """The patient's other knee and, where there are embeddings, the nearest of other patients."""
        bench, lead = self.bench, "The patient’s other knee"
        other = bench.views.other(row)
        rows, words = ([], []) if other is None else ([other], ["other knee"])
        if bench.embeddings is not None:
            near, cosine = nearest(bench.embeddings, row, count=NEIGHBOURS, patients=bench.patients)
            rows, words = [*rows, *near.tolist()], [*words, *(f"cosine {each:.3f}" for each in cosine)]
            lead += ", and the nearest by embedding"
        small = bench.views.small(bench.tables.numbers(bench.state), rows, words)
        return part.heading(lead) + small if rows else ""
