"""Executed notebooks as pages that need no network, written by nbconvert, and the index they are opened from."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from koa_kit import paths
from koa_kit.series.contract import WIDGET_VIEW
from koa_kit.series.execution import NotebookRun

TEMPLATES = Path(__file__).parent / "page_templates"
PLOTLY = "application/vnd.plotly.v1+json"
HIDDEN_CELLS = ["hide", "papermill-error-cell-tag"]
"""Tags of cells a page leaves out: those that drive widgets, and papermill's own error banners."""

THUMBNAIL = (640, 400)
SHOWN_CLAIMS = 4
CONTROL = "<p class='control'>Interactive control: run the notebook to use it.</p>"
MIME_TYPES = ["text/html", "image/png", "image/jpeg", "image/svg+xml", "text/markdown", "text/plain"]
"""What a page shows of an output that comes in several forms: the first of these."""


def write_page(run: NotebookRun, names: Sequence[str], out_dir: Path) -> Path:
    """Path of the page of one run of the series `names`, with its findings on top and links to its neighbours.

    plotly figures stay alive by one shared copy of plotly's script in `out_dir`; a widget shows the HTML it came with,
    or a line that says how to use it. A notebook that never started gets a page too.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs
    from traitlets.config import Config

    if not run.notebook.exists():
        nbformat.write(nbformat.v4.new_notebook(), run.notebook)
    notebook = nbformat.read(run.notebook, as_version=4)
    around = [None, *(f"{name}.html" for name in names), None]
    place = names.index(run.name)
    page: dict = {"title": outline(notebook)[0] or run.name, "findings": run.findings}
    page |= {"previous": around[place], "following": around[place + 2]}
    for cell in notebook.cells:
        if _tagged(cell, ["injected-parameters"]):  # in one line, without the folders of this machine
            cell.cell_type = "markdown"
            cell.source = f"run with `DATASET = {run.dataset}` `SCALE = {run.scale}` `SEED = {run.seed}`"
    if _show_figures_and_widgets(notebook):
        page["script"] = f"../{_write(get_plotlyjs(), out_dir / 'plotly.min.js').name}"
    tagged = {"enabled": True, "remove_cell_tags": HIDDEN_CELLS, "remove_input_tags": ["hide-input"]}
    exporter = HTMLExporter(
        config=Config(TagRemovePreprocessor=tagged, NbConvertBase={"display_data_priority": MIME_TYPES}),
        template_name="classic",
        template_file="notebook.html.j2",
        extra_template_paths=[str(TEMPLATES)],
    )
    html, _ = exporter.from_notebook_node(notebook, {"page": page})
    return _write(html, run.page)


def write_index(runs: Sequence[NotebookRun], path: Path) -> Path:
    """Path of the index written: one card per notebook with its question, picture, time, memory and a few numbers."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    settings = sorted({f"data set {run.dataset} · scale {run.scale} · seed {run.seed}" for run in runs})
    index = environment.get_template("index.html.j2")
    return _write(index.render(cards=[card(run) for run in runs], settings=settings, today=date.today()), path)


def outline(notebook) -> tuple[str, str]:
    """Title and first paragraph of a notebook as plain text: its first heading, and the first paragraph under it."""
    from bs4 import BeautifulSoup
    from nbconvert.filters import markdown2html

    shown = (cell.source for cell in notebook.cells if cell.cell_type == "markdown" and not _tagged(cell, HIDDEN_CELLS))
    page = BeautifulSoup(markdown2html("\n\n".join(shown)), "html.parser")
    for link in page.select(".anchor-link"):
        link.decompose()
    heading = page.find(["h1", "h2", "h3", "h4"])
    paragraph = heading and heading.find_next_sibling("p")
    title, summary = (" ".join(part.get_text().split()) if part else "" for part in (heading, paragraph))
    return title, summary


def _tagged(cell, tags: Sequence[str]) -> bool:
    return not set(tags).isdisjoint(cell.metadata.get("tags", ()))


def _show_figures_and_widgets(notebook) -> bool:
    """True if there are plotly figures; they and widgets without HTML become HTML that needs no network."""
    import plotly.io

    figures = False
    for number, cell in enumerate(notebook.cells):
        cell.metadata["alt"] = "Figure of this cell"
        for place, output in enumerate(cell.get("outputs", ())):
            data = output.get("data", {})
            if PLOTLY in data:
                figures = True
                data["text/html"] = plotly.io.to_html(
                    {key: data[PLOTLY][key] for key in ("data", "layout")},
                    config={"responsive": True, "displaylogo": False, **data[PLOTLY].get("config", {})},
                    include_plotlyjs=False,
                    full_html=False,
                    default_height="450px",
                    div_id=f"figure-{number}-{place}",
                    validate=False,
                )
            elif WIDGET_VIEW in data:
                data.setdefault("text/html", CONTROL)
    return figures


def card(run: NotebookRun) -> dict:
    """What the index shows of one run."""
    import nbformat

    notebook = nbformat.read(run.notebook, as_version=4)
    title, question = outline(notebook)
    results = run.load_results() if run.green else {}
    claims = [(name.replace("_", " "), _short(value)) for name, value in results.get("claims", {}).items()]
    shown = {"run": run, "title": title or run.name, "question": question, "picture": _thumbnail(notebook)}
    return shown | {
        "versions": results.get("versions", {}),
        "claims": [claim for claim in claims if claim[1]][:SHOWN_CLAIMS],
    }


def _short(value) -> str | None:
    """A claim as it fits on a card: a number, or a value with its interval; ``None`` for anything longer."""
    if isinstance(value, dict) and value.keys() >= {"value", "low", "high"}:
        return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _thumbnail(notebook) -> str | None:
    """First picture of the cell tagged ``cover``, else of the notebook, as a small PNG in base64."""
    from PIL import Image

    cells = sorted(notebook.cells, key=lambda cell: not _tagged(cell, ["cover"]))
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    pictures = [each["image/png"] for each in data if "image/png" in each]
    if not pictures:
        return None
    small, buffer = Image.open(io.BytesIO(base64.b64decode(pictures[0]))).convert("RGB"), io.BytesIO()
    small.thumbnail(THUMBNAIL)
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _write(text: str, path: Path) -> Path:
    with paths.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
