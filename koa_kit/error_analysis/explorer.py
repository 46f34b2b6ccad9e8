"""The confusion explorer: pick a cell of the confusion matrix and see its knees. Widgets only; the rest is pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
import pandas as pd

from koa_kit.error_analysis import explorer_page as page
from koa_kit.error_analysis.explorer_state import (
    SIDE_NAMES,
    cell_counts,
    chosen_knees,
    headline,
    initial_state,
    on_a_page,
    page_count,
    sides,
)
from koa_kit.error_analysis.explorer_style import GALLERY_HEIGHT, STYLE
from koa_kit.error_analysis.gallery import SORTS
from koa_kit.error_analysis.predictions import check_predictions
from koa_kit.style import ACCENT, GRADES, INK, PAPER, grade_label

if TYPE_CHECKING:
    from koa_kit.data.cohort import Cohort
    from koa_kit.prompts import PromptSet


class ConfusionExplorer:
    """Confusion matrix of buttons, controls, and a gallery of the chosen knees.

    Shown in a notebook it is alive; in an exported page, on paper or in a diff its HTML snapshot stands in for it.
    An error of a control is shown in the page, and raised as well under ``KOA_STRICT=1``.

    Parameters
    ----------
    predictions
        Predictions table.
    images
        Cohort, or uint8 images ``(N, H, W)`` row for row with `predictions`; omitted, knees are shown by numbers only.
    prompts
        Prompt set, its name, or five texts, for the tooltips of the bars.

    Attributes
    ----------
    state
        What is shown.
    failure
        The error of the last control used, or ``None``.

    Raises
    ------
    KoaError
        If the predictions, images or prompts do not fit.
    """

    def __init__(
        self,
        predictions: pd.DataFrame,
        images: Cohort | np.ndarray | None = None,
        prompts: PromptSet | str | Sequence[str] | None = None,
    ):
        self.predictions = check_predictions(predictions)
        self.find = page.thumbnail_finder(images, predictions)
        self.prompts = prompt_texts(prompts)
        self.state = initial_state(predictions)
        self.failure: Exception | None = None
        self._syncing = False
        self._build()
        self._render()

    def _build(self) -> None:
        plain = {"width": "58px", "height": "36px", "margin": "1px", "padding": "0"}
        self._off = widgets.Layout(**plain, border=f"3px solid {PAPER}")
        self._on = widgets.Layout(**plain, border=f"3px solid {ACCENT}")
        wide = plain | {"width": "132px"}
        self._row_off = widgets.Layout(**wide, border=f"3px solid {PAPER}")
        self._row_on = widgets.Layout(**wide, border=f"3px solid {ACCENT}")
        self.cells = {(true, pred): widgets.Button(layout=self._off) for true in GRADES for pred in GRADES}
        self.rows = {grade: widgets.Button(description=grade_label(grade), layout=self._row_off) for grade in GRADES}
        for (true, pred), button in self.cells.items():
            button.add_class(f"koa-cell-{true}-{pred}").on_click(self._on_click(true=true, pred=pred))
        for grade, button in self.rows.items():
            button.tooltip = f"all knees the reader graded KL{grade}"
            button.style.button_color, button.style.text_color = PAPER, INK
            button.add_class(f"koa-row-{grade}").on_click(self._on_click(true=grade, pred=None))
        self.sort = widgets.Dropdown(options=[(label, name) for name, label in SORTS.items()], description="Order")
        named = [(SIDE_NAMES.get(side, side), side) for side in sides(self.predictions)]
        self.side = widgets.Dropdown(options=named, description="Side")
        self.flip = widgets.Checkbox(description="show each knee flipped, too")
        self.previous, self.next = (widgets.Button(description=text) for text in ("← Previous", "Next →"))
        for control, name in ((self.sort, "sort"), (self.side, "side"), (self.flip, "show_flip")):
            control.add_class(f"koa-{name}").observe(self._on_value(name), "value")
        self.previous.add_class("koa-previous").on_click(lambda _: self._apply(page=self.state.page - 1))
        self.next.add_class("koa-next").on_click(lambda _: self._apply(page=self.state.page + 1))
        self.headline = widgets.HTML(layout=widgets.Layout(height="86px", overflow="hidden"))
        self.gallery = widgets.HTML(layout=widgets.Layout(height=f"{GALLERY_HEIGHT}px", overflow="auto"))
        self.gallery.add_class("koa-gallery")
        corner = widgets.HTML('<div style="text-align:right;padding-right:8px">reader ↓ model →</div>')
        heads = [widgets.HTML(f'<div style="text-align:center">KL{grade}</div>') for grade in GRADES]
        lines = [widget for grade in GRADES for widget in (self.rows[grade], *(self.cells[grade, p] for p in GRADES))]
        matrix = widgets.GridBox(
            [corner, *heads, *lines], layout=widgets.Layout(grid_template_columns="136px repeat(5, 60px)")
        )
        pager = widgets.HBox([self.previous, self.next])
        controls = widgets.VBox([self.headline, self.sort, self.side, self.flip, pager])
        top = widgets.HBox([matrix, controls], layout=widgets.Layout(grid_gap="24px"))
        self.widget = widgets.VBox([top, self.gallery], layout=widgets.Layout(max_width="980px"))

    def _on_click(self, **changes) -> Callable:
        return lambda _: self._apply(**changes)

    def _on_value(self, name: str) -> Callable:
        return lambda change: None if self._syncing else self._apply(**{name: change["new"]})

    def show(self, **changes) -> ConfusionExplorer:
        """The explorer itself, with attributes of its state changed, for example ``show(true=1, pred=2)``."""
        self.state = on_a_page(self.predictions, self.state.change(**changes))
        self._render()
        return self

    def _apply(self, **changes) -> None:
        """What every control does; its error is kept and shown, since ipywidgets drops what a click raises."""
        try:
            self.failure = None
            self.show(**changes)
        except Exception as error:
            self.failure = error
            self.gallery.value = page.error_html(error)
            if os.environ.get("KOA_STRICT") == "1":
                raise

    def _render(self) -> None:
        state, counts = self.state, cell_counts(self.predictions, self.state.side)
        gallery = page.gallery_html(self.predictions, state, find=self.find, prompts=self.prompts)
        self.gallery.value = STYLE + gallery
        self.headline.value = f'<div class="koa-ex">{page.headline_html(self.predictions, state)}</div>'
        for (true, pred), button in self.cells.items():
            count, total = int(counts[true, pred]), int(counts[true].sum())
            button.description = str(count) if count else "·"
            button.style.button_color, button.style.text_color = page.shade(count / max(1, total))
            button.tooltip = f"reader KL{true}, model KL{pred}: {count} of {total} knees"
            button.layout = self._on if (true, pred) == (state.true, state.pred) else self._off
        for grade, button in self.rows.items():
            button.layout = self._row_on if (grade, None) == (state.true, state.pred) else self._row_off
        last = page_count(len(chosen_knees(self.predictions, state)), state) - 1
        self.previous.disabled, self.next.disabled = state.page == 0, state.page >= last
        self._syncing = True
        try:
            self.sort.value, self.side.value, self.flip.value = state.sort, state.side, state.show_flip
        finally:
            self._syncing = False

    def snapshot(self) -> str:
        """The present state as HTML that needs no kernel."""
        return page.snapshot_html(self.predictions, self.state, find=self.find, prompts=self.prompts)

    def __repr__(self) -> str:
        return f"ConfusionExplorer({headline(self.predictions, self.state)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {**self.widget._repr_mimebundle_(), "text/html": self.snapshot(), "text/plain": repr(self)}


def prompt_texts(prompts: PromptSet | str | Sequence[str] | None) -> tuple[str, ...]:
    """Five texts, an ensemble's sentences joined by " / "; none for ``None``."""
    if prompts is None:
        return ()
    from koa_kit.prompts import prompt_set

    return tuple(" / ".join(sentences) for sentences in prompt_set(prompts).prompts)


def drive(explorer: ConfusionExplorer) -> int:
    """Number of controls used: every cell, row, order, side, the flipped view and the pages, as a reader would.

    Afterwards the explorer shows what it showed before.

    Raises
    ------
    Exception
        The first error of a control, or ``RuntimeError`` if one did not do what it should.
    """
    before, steps = explorer.state, 0

    def use(action: Callable, **expected) -> None:
        nonlocal steps
        action()
        if explorer.failure is not None:
            raise explorer.failure
        found = asdict(explorer.state)
        wrong = {name: found[name] for name, value in expected.items() if found[name] != value}
        knees = len(chosen_knees(explorer.predictions, explorer.state))
        size = explorer.state.page_size
        cards = min(size, knees - explorer.state.page * size)
        if wrong or explorer.gallery.value.count('class="koa-card"') != cards:
            raise RuntimeError(f"A control of the explorer failed: wanted {expected}, {cards} knees; shown {found}.")
        steps += 1

    for (true, pred), button in explorer.cells.items():
        use(button.click, true=true, pred=pred)
    for grade, button in explorer.rows.items():
        use(button.click, true=grade, pred=None)
    fullest = int(cell_counts(explorer.predictions, explorer.state.side).sum(1).argmax())
    use(explorer.rows[fullest].click, true=fullest)
    if not explorer.next.disabled:
        use(explorer.next.click, page=1)
        use(explorer.previous.click, page=0)
    for control, name in ((explorer.sort, "sort"), (explorer.side, "side"), (explorer.flip, "show_flip")):
        values = [value for _, value in control.options] if hasattr(control, "options") else [True, False]
        for value in [*values[1:], values[0]] if name != "show_flip" else values:
            use(lambda control=control, value=value: setattr(control, "value", value), **{name: value})
    explorer.show(**asdict(before))
    return steps
