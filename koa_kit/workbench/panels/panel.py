"""What every part of the workbench is: controls, a way to draw itself anew, and a way to ask for a change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import part


class Panel:
    """A part of the workbench `bench`: a subclass sets `widget`, and draws in `render` what ``bench.state`` says.

    It asks for a change by ``bench.show``, and takes tables, knees and the readers' log from the workbench.
    """

    title = ""
    widget: widgets.Widget

    def __init__(self, bench):
        self.bench = bench
        self._syncing = False

    def render(self) -> None:
        """Draw what the state says; called when the panel is in view and something has changed."""

    @contextmanager
    def syncing(self):
        """Set controls inside the block without their handlers answering."""
        self._syncing = True
        try:
            yield
        finally:
            self._syncing = False

    def on_value(self, control: widgets.Widget, action: Callable[[Any], None], css: str) -> widgets.Widget:
        """The control; `action` is called with its new value, and an error of it shown by the workbench."""

        def changed(change: dict) -> None:
            if not self._syncing:
                self.bench.guard(lambda: action(change["new"]))

        control.observe(changed, "value")
        return control.add_class(css)

    def button(self, text: str, action: Callable[[], None], css: str, width: str = "auto") -> widgets.Button:
        """Button that calls `action`; its error is shown by the workbench."""
        made = widgets.Button(description=text, layout=widgets.Layout(width=width))
        made.on_click(lambda _: self.bench.guard(action))
        return made.add_class(css)

    def clickable(self, action: Callable[[str], object], **layout) -> ClickableHTML:
        """HTML that calls `action` with what is picked; its error is shown by the workbench."""
        made = ClickableHTML(layout=widgets.Layout(**layout))
        made.observe(lambda change: self.bench.guard(lambda: action(change["new"]["value"])), "picked")
        return made


def side_by_side(*parts: widgets.Widget, gap: int = 20, align: str = "flex-start") -> widgets.HBox:
    """Parts beside each other where there is room, below each other in a narrow notebook; `gap` in CSS pixels."""
    layout = widgets.Layout(flex_flow="row wrap", grid_gap=f"8px {gap}px", align_items=align)
    return widgets.HBox(parts, layout=layout)


def column(*parts: widgets.Widget, **layout) -> widgets.VBox:
    """Parts below each other."""
    return widgets.VBox(parts, layout=widgets.Layout(**layout))


def html(css: str = "", **layout) -> widgets.HTML:
    """An empty place for HTML."""
    made = widgets.HTML(layout=widgets.Layout(**layout))
    return made.add_class(css) if css else made


def heading(text: str) -> widgets.HTML:
    """Small title above some controls."""
    return widgets.HTML(part.heading(text))


def wide(width: int, label: int = 0) -> dict:
    """Keywords of a control so many CSS pixels wide, its label too or as wide as its text."""
    label_width = f"{label}px" if label else "initial"
    return {"layout": widgets.Layout(width=f"{width}px"), "style": {"description_width": label_width}}


def menu(options: dict[Any, str], text: str, **keywords) -> widgets.Dropdown:
    """Dropdown of values, each with the words it is shown by."""
    return widgets.Dropdown(options=[(words, value) for value, words in options.items()], description=text, **keywords)
