"""The macros of ``parts.html`` as functions: texts given to them are escaped, markup they made before is not."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PARTS = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
part = _PARTS.get_template("parts.html").module
"""Macros by name, for example ``part.soft("a quiet line")``; each returns `markupsafe.Markup`."""
