"""HTML in a notebook whose parts answer to a click and to the keyboard: what ipywidgets' HTML cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets


class ClickableHTML(anywidget.AnyWidget):
    """HTML whose elements with ``data-pick="…"`` can be clicked, walked through by arrow keys, and chosen by Enter.

    `html` is set as it is: every text of a user in it must have been escaped. The element whose ``data-pick`` is
    `chosen` is marked with the class ``koa-chosen``.
    """

    _esm = Path(__file__).with_name("clickable.js").read_text(encoding="utf-8")
    html = traitlets.Unicode("").tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    picked = traitlets.Dict({}).tag(sync=True)  # "value", the data-pick of the last click or Enter, and "count"
    turned = traitlets.Dict({}).tag(sync=True)  # "by", 1 or -1 of the last PageDown or PageUp, and "count"

    def on_pick(self, action: Callable[[str], None]) -> ClickableHTML:
        """Call `action` with the ``data-pick`` of every element picked; returns the widget."""
        self.observe(lambda change: action(change["new"]["value"]), "picked")
        return self

    def on_turn(self, action: Callable[[int], None]) -> ClickableHTML:
        """Call `action` with 1 or -1 for PageDown or PageUp; returns the widget."""
        self.observe(lambda change: action(change["new"]["by"]), "turned")
        return self

    def pick(self, value: str) -> None:
        """What a click on the element with this ``data-pick`` does."""
        self.picked = {"value": value, "count": self.picked.get("count", 0) + 1}

    def turn(self, by: int) -> None:
        """What PageDown (1) or PageUp (-1) does."""
        self.turned = {"by": by, "count": self.turned.get("count", 0) + 1}
