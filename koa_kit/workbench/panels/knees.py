"""Confusion matrix, gallery and one knee large: pick a cell, pick a knee, look."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets as widgets
import numpy as np

from koa_kit.error_analysis.gallery import SORTS
from koa_kit.error_analysis.neighbours import nearest
from koa_kit.workbench.page import pages
from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import say, soft, wrapped
from koa_kit.workbench.page.knee_page import BESIDE, Viewing, other_knee, small_knees_html
from koa_kit.workbench.panels.panel import Panel, heading, side_by_side
from koa_kit.workbench.panels.review_form import VerdictForm
from koa_kit.workbench.state import MATRICES, page_count, page_of

LIKE = 5
"""Nearest knees shown."""


class KneesPanel(Panel):
    """Linked matrix, gallery and large view.

    Attributes
    ----------
    matrix
        Confusion matrix; picks are such as "1,2" (a cell) or "1," (a row).
    mode, sort
        What the matrix shows, and the order of the gallery.
    gallery
        A page of knees; picks are ``knee_id``.
    previous, next
        Turn its pages; so do PageUp and PageDown within it.
    level, window, inverted, reset
        How the radiograph is shown.
    knee, likes
        The knee shown large; its patient's other knee and its nearest neighbours, which can be picked.
    verdict
        The form for a reader's verdict.
    """

    title = "Knees"

    def __init__(self, bench):
        super().__init__(bench)
        guard = bench.guard
        self.matrix = ClickableHTML().on_pick(lambda value: guard(lambda: self._pick_cell(value)))
        self.mode = widgets.Dropdown(options=[(text, name) for name, text in MATRICES.items()], description="Cells")
        self.sort = widgets.Dropdown(options=[(text, name) for name, text in SORTS.items()], description="Order")
        for control, name in ((self.mode, "matrix"), (self.sort, "sort")):
            control.layout.width, control.style.description_width = "300px", "50px"
            self.on_value(control, lambda value, name=name: bench.show(**{name: value})).add_class(f"koa-{name}")
        self.gallery = ClickableHTML().on_pick(lambda knee: guard(lambda: bench.show(knee=knee)))
        self.gallery.on_turn(lambda by: guard(lambda: self._turn(by)))
        self.previous = self.button("← previous", lambda: self._turn(-1), "koa-previous")
        self.next = self.button("next →", lambda: self._turn(1), "koa-next")
        self.where = widgets.HTML()
        self.headline = widgets.HTML(layout=widgets.Layout(min_height="54px"))
        self.headline.add_class("koa-headline")
        self._build_large()
        self.verdict = VerdictForm(bench)
        pager = widgets.HBox([self.previous, self.next, self.where], layout=widgets.Layout(grid_gap="8px"))
        left = widgets.VBox([self.matrix, self.mode, self.sort], layout=widgets.Layout(flex="0 0 auto"))
        right = widgets.VBox([self.headline, self.verdict.widget], layout=widgets.Layout(flex="1 1 330px"))
        top = side_by_side(left, right, gap=24)
        self.gallery.layout = widgets.Layout(min_height="300px")
        legend = widgets.HTML(pages.legend_html(bench.find is not None, bool(bench.prompts)))
        self.widget = widgets.VBox([top, self.large, pager, self.gallery, legend])

    def _build_large(self) -> None:
        wide = {"layout": widgets.Layout(width="290px"), "style": {"description_width": "56px"}}
        self.level = widgets.FloatSlider(min=0, max=255, value=127.5, step=0.5, description="Level", **wide)
        self.window = widgets.FloatSlider(min=8, max=256, value=256, step=1, description="Window", **wide)
        self.inverted = widgets.Checkbox(description="inverted", indent=False)
        for control, name in ((self.level, "level"), (self.window, "window"), (self.inverted, "inverted")):
            self.on_value(control, lambda value, name=name: self._view(**{name: value})).add_class(f"koa-view-{name}")
        beside = [(text, name) for name, text in BESIDE.items()]
        self.beside = widgets.Dropdown(options=beside, description="Beside", **wide)
        self.on_value(self.beside, lambda value: self._view(beside=value)).add_class("koa-view-beside")
        self.reset = self.button("reset", lambda: self.bench.show(viewing=Viewing()), "koa-view-reset", width="70px")
        self.knee = widgets.HTML(layout=widgets.Layout(min_height="480px", flex="0 0 622px")).add_class("koa-knee")
        self.likes = ClickableHTML().on_pick(lambda knee: self.bench.guard(lambda: self.bench.show(knee=knee)))
        lights = [self.level, self.window, widgets.HBox([self.inverted, self.reset])] if self.bench.find else []
        side = widgets.VBox([self.beside, *lights, self.likes], layout=widgets.Layout(flex="1 1 290px", width="300px"))
        self.large = side_by_side(self.knee, side, gap=8)

    def _view(self, **changes) -> None:
        self.bench.show(viewing=replace(self.bench.state.viewing, **changes))

    def _pick_cell(self, value: str) -> None:
        true, pred = pages.picked_cell(value)
        self.bench.show(true=true, pred=pred, knee="")

    def _turn(self, by: int) -> None:
        chosen = self.bench.tables.chosen(self.bench.state)
        page = int(np.clip(self.bench.state.page + by, 0, page_count(len(chosen)) - 1))
        self.bench.show(page=page, knee="")

    def render(self) -> None:
        bench, state, tables = self.bench, self.bench.state, self.bench.tables
        counts, chosen = tables.counts(state), tables.chosen(state)
        self.matrix.html = pages.matrix_html(counts, tables.change(state), state)
        self.matrix.chosen = f"{state.true},{'' if state.pred is None else state.pred}"
        self.headline.value = wrapped(say(pages.headline(counts, state)))
        shown = page_of(chosen, state.page)
        self.gallery.html = bench.cards(shown) if len(shown) else pages.empty_html(counts, state)
        self.where.value = soft(pages.pages_text(len(chosen), state.page))
        self.previous.disabled = state.page == 0
        self.next.disabled = state.page >= page_count(len(chosen)) - 1
        with self.syncing():
            self.mode.value, self.sort.value = state.matrix, state.sort
            self.level.value, self.window.value = state.viewing.level, state.viewing.window
            self.inverted.value, self.beside.value = state.viewing.inverted, state.viewing.beside
        row = tables.row(state, shown)
        self._render_knee(row)
        self.verdict.show(row)

    def _render_knee(self, row: int | None) -> None:
        bench, state = self.bench, self.bench.state
        if row is None:
            self.knee.value, self.likes.html, self.gallery.chosen = "", "", ""
            return
        table = bench.tables.graded(state)
        name = bench.tables.names[row]
        self.gallery.chosen = name
        self.knee.value = bench.large(row)
        rows, words = [], []
        other = other_knee(table, row)
        if other is not None:
            rows, words = [other], ["other knee"]
        if bench.embeddings is not None:
            near, cosine = nearest(bench.embeddings, row, count=LIKE, patients=bench.patients)
            rows, words = [*rows, *near.tolist()], [*words, *(f"cosine {each:.3f}" for each in cosine)]
        alike = small_knees_html(table, rows, words, find=bench.thumbnail)
        lead = "The patient’s other knee" + (", and the nearest by embedding" if bench.embeddings is not None else "")
        self.likes.html = heading(lead).value + alike if rows else ""

    def controls(self):
        def through(control):
            start = control.value
            for _, value in control.options:
                control.value = value
            control.value = start

        def light():
            self.level.value, self.window.value, self.inverted.value = 100.0, 80.0, True
            self.beside.value = "other"
            self.reset.click()

        cells = [(f"cell {t},{p}", lambda t=t, p=p: self.matrix.pick(f"{t},{p}")) for t in range(5) for p in range(5)]
        rows = [(f"row {true}", lambda true=true: self.matrix.pick(f"{true},")) for true in (0, 2, 3, 4, 1)]
        turns = [("next page", self.next.click), ("previous page", self.previous.click)]
        more = [("cells show", lambda: through(self.mode)), ("order", lambda: through(self.sort)), ("light", light)]
        return [*cells, *rows, *turns, *more, ("another knee", self._pick_second), *self.verdict.controls()]

    def _pick_second(self) -> None:
        rows = page_of(self.bench.tables.chosen(self.bench.state), self.bench.state.page)
        if len(rows) > 1:
            self.gallery.pick(self.bench.tables.names[rows[1]])
