"""What notices on the page that nobody answers it any more."""

from pathlib import Path

import anywidget


class Connection(anywidget.AnyWidget):
    """Says so, and turns the controls of the workbench around it off, while its server or its kernel is gone."""

    _esm = Path(__file__).with_name("connection.js").read_text(encoding="utf-8")
