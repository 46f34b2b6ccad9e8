"""What every part of the workbench is: controls, a way to draw itself anew, and a way to ask for a change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ipywidgets as widgets

if TYPE_CHECKING:
    from koa_kit.workbench.workbench import Workbench

WIDTH = 960
"""CSS pixels of the whole workbench."""


class Panel:
    """A part of the workbench; a subclass sets `widget` and draws what `bench.state` says.

    Parameters
    ----------
    bench
        The workbench it belongs to.

    Attributes
    ----------
    widget
        What is shown.
    """

    title = ""
    widget: widgets.Widget

    def __init__(self, bench: Workbench):
        self.bench = bench
        self._syncing = False

    def render(self) -> None:
        """Draw what the state says; called when the panel is in view and something has changed."""

    def controls(self) -> list[tuple[str, Callable[[], None]]]:
        """Name and action of every control, as a reader would use it once; see `drive`."""
        return []

    @contextmanager
    def syncing(self):
        """Set controls inside the block without their handlers answering."""
        self._syncing = True
        try:
            yield
        finally:
            self._syncing = False

    def on_value(self, control: widgets.Widget, action: Callable[[object], None]) -> widgets.Widget:
        """Have `action` called with the new value of a control; its error is shown by the workbench."""

        def changed(change: dict) -> None:
            if not self._syncing:
                self.bench.guard(lambda: action(change["new"]))

        control.observe(changed, "value")
        return control

    def button(self, text: str, action: Callable[[], None], css: str = "", **layout) -> widgets.Button:
        """Button that calls `action`; its error is shown by the workbench."""
        made = widgets.Button(description=text, layout=widgets.Layout(**({"width": "auto"} | layout)))
        made.on_click(lambda _: self.bench.guard(action))
        return made.add_class(css) if css else made


def side_by_side(*parts: widgets.Widget, gap: int = 20) -> widgets.HBox:
    """Parts beside each other where there is room, below each other in a narrow notebook; `gap` in CSS pixels."""
    layout = widgets.Layout(flex_flow="row wrap", grid_gap=f"8px {gap}px", align_items="flex-start")
    return widgets.HBox(parts, layout=layout)


def heading(text: str) -> widgets.HTML:
    """Small title above some controls; `text` is the kit's own, not a user's."""
    return widgets.HTML(f'<div class="koa-ex"><p class="koa-soft koa-lead">{text}</p></div>')
