"""HTML in a notebook whose parts answer to a click and to the keyboard: what ipywidgets' HTML cannot."""

from __future__ import annotations

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

    def pick(self, value: str) -> None:
        """What a click on the element with this ``data-pick`` does."""
        self.picked = {"value": value, "count": self.picked.get("count", 0) + 1}
