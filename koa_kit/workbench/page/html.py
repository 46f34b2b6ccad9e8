"""How the workbench's HTML is made and looks: the macros of ``parts.html``, and one style sheet under ``.koa-ex``."""

from pathlib import Path
from string import Template
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from koa_kit.style import ACCENT, FAINT, INK, PAPER

THUMB = 112
"""CSS pixels and pixels of a thumbnail's longest side."""
FULL_SHADE = "#2f639f"
"""Colour of a matrix cell that holds its whole row."""

_HERE = Path(__file__).parent
_PARTS = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
part: Any = _PARTS.get_template("parts.html").module
"""Macros by name, such as ``part.soft(text)``, to `Markup`: texts are escaped, markup they made before is not."""

_SIZES = {"thumb": THUMB, "large": 300, "small": 88, "card": 216}
_COLOURS = {"ink": INK, "paper": PAPER, "faint": FAINT, "accent": ACCENT, "rest": "#c3cbd3"}
_RULES = Template((_HERE / "style.css").read_text(encoding="utf-8"))
STYLE = Markup(f"<style>\n{_RULES.substitute(_SIZES, **_COLOURS)}</style>")
"""Every rule stands under ``.koa-ex``, so that no page around it changes."""
