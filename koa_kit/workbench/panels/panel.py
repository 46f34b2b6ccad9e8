"""What every part of the workbench is: controls, a way to draw itself anew, and a way to ask for a change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import ipywidgets as widgets

from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import part

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from koa_kit.workbench.page.knees import KneeViews
    from koa_kit.workbench.prompts.editor import PromptEditor
    from koa_kit.workbench.reviews.log import ReviewLog
    from koa_kit.workbench.state import WorkbenchState
    from koa_kit.workbench.tables import Tables


class Bench(Protocol):
    """What panels need of the workbench they belong to; see `koa_kit.workbench.bench.Workbench`."""

    state: WorkbenchState
    tables: Tables
    prompt_editor: PromptEditor | None
    log: ReviewLog | None
    find: Callable[[object], np.ndarray] | None
    views: KneeViews
    explain: Callable | None
    masks: Callable | None
    embeddings: np.ndarray | None
    patients: np.ndarray
    robustness: pd.DataFrame | None
    prompts: tuple[str, ...]
    failure: Exception | None

    def show(self, **changes) -> object: ...
    def draw(self) -> None: ...
    def guard(self, action: Callable[[], object]) -> None: ...
    def mended(self) -> None: ...
    def large(self, row: int) -> str: ...
    def knee(self) -> pd.Series | None: ...
    def open_knee(self, knee: str) -> None: ...


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

    def __init__(self, bench: Bench):
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

    def on_value(self, control: widgets.Widget, action: Callable[[object], None], css: str = "") -> widgets.Widget:
        """Have `action` called with the new value of a control; its error is shown by the workbench."""

        def changed(change: dict) -> None:
            if not self._syncing:
                self.bench.guard(lambda: action(change["new"]))

        control.observe(changed, "value")
        return control.add_class(css) if css else control

    def button(self, text: str, action: Callable[[], None], css: str, **layout) -> widgets.Button:
        """Button that calls `action`; its error is shown by the workbench."""
        made = widgets.Button(description=text, layout=widgets.Layout(**({"width": "auto"} | layout)))
        made.on_click(lambda _: self.bench.guard(action))
        return made.add_class(css)

    def clickable(self, action: Callable[[str], object], **layout) -> ClickableHTML:
        """HTML that calls `action` with what is picked; its error is shown by the workbench."""
        made = ClickableHTML(layout=widgets.Layout(**layout))
        return made.on_pick(lambda value: self.bench.guard(lambda: action(value)))


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


def menu(options: dict[object, str], text: str, **keywords) -> widgets.Dropdown:
    """Dropdown of values, each with the words it is shown by."""
    return widgets.Dropdown(options=[(words, value) for value, words in options.items()], description=text, **keywords)
