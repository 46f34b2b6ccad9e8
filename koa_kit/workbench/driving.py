"""Use every control of a workbench once, as a reader would, so that a broken one fails the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape

import ipywidgets as widgets

from koa_kit.errors import KoaError
from koa_kit.workbench.bench import Workbench
from koa_kit.workbench.message import Message
from koa_kit.workbench.page.clickable import ClickableHTML

PICKS = 30
"""Most parts of one list that are picked: a confusion matrix has 25 cells and 5 rows."""


def drive(bench: Workbench | Message) -> int:
    """Number of uses of controls; afterwards the workbench shows what it showed before.

    Nothing is written: a review is tried without a name, which must be refused, and nothing is exported. The first
    error of a control is raised.
    """
    if isinstance(bench, Message):
        raise bench.error
    before, tab, used = bench.state, bench.tabs.selected_index, 0
    steps = len(bench.prompt_editor.history) if bench.prompt_editor else 0
    reviewing = bench.panels["Knees"].review
    for place, shown in enumerate(bench.tabs.children):
        bench.state, bench.tabs.selected_index = before, place
        for control in [*(controls_of(bench.filters.widget) if place == 0 else ()), *controls_of(shown)]:
            for use in reviewing.uses() if control is reviewing.widget else uses_of(control):
                if control is reviewing.widget:
                    if not isinstance(bench.quietly(use), KoaError):
                        raise RuntimeError("A review without a reader was kept.")
                    bench.mended()
                elif control is not bench.panels["Reviews"].export:
                    use()
                if bench.failure is not None:
                    name = getattr(control, "description", "") or type(control).__name__
                    raise RuntimeError(f"The control {name!r} failed: {bench.failure}") from bench.failure
                used += 1
                bench.tabs.selected_index = place  # a picked knee opens in the first tab
            if bench.knee() is None:
                bench.state = before
                bench.draw()
    while bench.prompt_editor and len(bench.prompt_editor.history) > steps:
        bench.prompt_editor.undo()
    bench.tables.reword(bench.prompt_editor.table if bench.prompt_editor else bench.tables.predictions)
    bench.state, bench.tabs.selected_index = before, tab
    bench.draw()
    return used


def controls_of(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """All widgets inside one that are shown, from top to bottom."""
    if widget.layout.display == "none":
        return
    yield widget
    for child in getattr(widget, "children", ()):
        yield from controls_of(child)


def uses_of(control: widgets.Widget) -> Iterator[Callable[[], None]]:
    """What a reader would do with a control; one that holds a value holds it again at the end."""
    if isinstance(control, widgets.Button):
        if not control.disabled:
            yield control.click
    elif isinstance(control, ClickableHTML):
        for value in re.findall('data-pick="([^"]*)"', control.html)[:PICKS]:
            yield partial(control.pick, unescape(value))
    elif values := _other_values(control):
        for value in (*values, control.value):
            yield partial(setattr, control, "value", value)


def _other_values(control: widgets.Widget) -> tuple:
    if isinstance(control, widgets.Dropdown):
        values = (option[1] if isinstance(option, tuple) else option for option in control.options)
        return tuple(value for value in values if value != control.value)
    if isinstance(control, widgets.Checkbox):
        return (not control.value,)
    if isinstance(control, widgets.Text | widgets.Textarea):
        return ("A knee with doubtful narrowing of the joint space.",)
    if isinstance(control, widgets.FloatRangeSlider):
        return ((control.value[0], (control.value[0] + control.value[1]) / 2),)
    if isinstance(control, widgets.FloatSlider | widgets.FloatLogSlider):
        return (control.value + (control.step if control.value + control.step <= control.max else -control.step),)
    return ()
