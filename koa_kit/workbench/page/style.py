"""How the workbench's HTML looks: one style sheet, every rule under ``.koa-ex`` so that no page around it changes."""

from pathlib import Path
from string import Template

from markupsafe import Markup

from koa_kit.style import ACCENT, FAINT, INK, PAPER

THUMB = 112
"""CSS pixels and pixels of a thumbnail's longest side."""

FULL_SHADE = "#2f639f"
"""Colour of a matrix cell that holds its whole row."""

_SIZES = {"thumb": THUMB, "large": 300, "small": 88, "card": 216}
_COLOURS = {"ink": INK, "paper": PAPER, "faint": FAINT, "accent": ACCENT, "rest": "#c3cbd3"}
_RULES = Template(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))

STYLE = Markup(f"<style>\n{_RULES.substitute(_SIZES, **_COLOURS)}</style>")
