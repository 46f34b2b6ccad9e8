"""Executed notebooks as pages that need no network, and the index they are opened from."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from koa_kit import paths
from koa_kit.series.contract import WIDGET_VIEW, Finding, tags

if TYPE_CHECKING:
    from koa_kit.series.notebook_run import NotebookRun

KIT = "koa_kit"
SENTENCE = (
    "How far is a knee from the word for it? Grading knee osteoarthritis on X-rays from Normal to Severe "
    "by comparing images with five sentences."
)
DISCLAIMER = (
    "For teaching and research only. This is no medical device: nothing here diagnoses a knee or advises its treatment."
)
PLOTLY = "application/vnd.plotly.v1+json"
PLOTLY_SCRIPT = "plotly.min.js"
LEFT_OUT = {"hide", "remove", "papermill-error-cell-tag"}
"""Tags of cells a page leaves out: those that drive widgets, and papermill's own error banners."""

HIDDEN_CODE = "hide-input"
COVER = "cover"
"""Tag of the cell whose picture stands on the index card; without it the notebook's first picture does."""

THUMBNAIL = (640, 400)
SHOWN_CLAIMS = 4


def export_page(
    executed_ipynb: str | os.PathLike,
    html_path: str | os.PathLike,
    *,
    previous: str | None = None,
    following: str | None = None,
    index: str | None = None,
    assets: str | os.PathLike | None = None,
    findings: Sequence[Finding] = (),
) -> Path:
    """Path of the page written from an executed notebook.

    plotly figures stay alive by one shared copy of plotly's script; a widget shows the HTML it came with, or a line
    that says how to use it. Cells tagged `LEFT_OUT` are left out, code tagged ``hide-input`` is hidden.

    Parameters
    ----------
    previous, following, index
        Links to other pages, relative to this one.
    assets
        Folder that gets plotly's script if the page needs it; omitted, the page's own.
    findings
        Breaches of the contract, shown on top.
    """
    import nbformat

    notebook = nbformat.read(executed_ipynb, as_version=4)
    html_path = Path(html_path)
    assets = Path(assets) if assets else html_path.parent
    cells = [_cell(cell, number) for number, cell in enumerate(notebook.cells) if not tags(cell) & LEFT_OUT]
    script = None
    if any(output.get("plotly") for cell in cells for output in cell.get("outputs", ())):
        _share_plotly(assets)
        script = Path(os.path.relpath(assets / PLOTLY_SCRIPT, html_path.parent)).as_posix()
    title, _ = outline(notebook)
    links = {"previous": previous, "following": following, "index": index}
    page = _template("notebook.html.j2").render(
        title=title or Path(executed_ipynb).stem, cells=cells, script=script, findings=findings, **links
    )
    return _write(page, html_path)


def export_run(run: NotebookRun, names: Sequence[str], out_dir: Path) -> Path:
    """Page of one run of the series `names`, linked to its neighbours; a notebook that never started gets one too."""
    import nbformat

    place = list(names).index(run.name)
    if not run.notebook.exists():
        nbformat.write(nbformat.v4.new_notebook(), run.notebook)
    return export_page(
        run.notebook,
        run.page,
        previous=f"{names[place - 1]}.html" if place else None,
        following=f"{names[place + 1]}.html" if place + 1 < len(names) else None,
        index="../index.html",
        assets=out_dir,
        findings=run.findings,
    )


def write_index(runs: Sequence[NotebookRun], path: str | os.PathLike) -> Path:
    """Path of the index written: one card a notebook with its question, picture, time, memory and a few numbers."""
    path = Path(path)
    cards = [_card(run, path.parent) for run in runs]
    first = next((card["results"] for card in cards if card["results"]), {})
    settings = sorted({f"data set {run.dataset} · scale {run.scale} · seed {run.seed}" for run in runs})
    page = _template("index.html.j2").render(
        sentence=SENTENCE,
        cards=cards,
        settings=settings,
        versions=first.get("versions", {}),
        seconds=sum(run.seconds for run in runs),
        failed=sum(not run.green for run in runs),
        today=date.today().isoformat(),
    )
    return _write(page, path)


def outline(notebook) -> tuple[str, str]:
    """Title and first paragraph of a notebook as plain text: the first heading, and the first text under it."""
    title = paragraph = ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown" or tags(cell) & LEFT_OUT:
            continue
        for block in re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=[-*] )", cell.source.strip()):
            heading = re.match(r"#+\s+(.+)", block)
            if heading and not title:
                title = _without_marks(heading[1])
                block = block[heading.end() :].strip()
            if title and not paragraph and re.match(r"[^#\-|<\s]", block):
                paragraph = _without_marks(block)
        if title and paragraph:
            break
    return title, paragraph


def _without_marks(text: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*`>]|(?<!\w)_|_(?!\w)", "", text).split())


def _cell(cell, number: int) -> dict:
    """What the template shows of one cell."""
    if cell.cell_type != "code":
        return {"kind": "text", "html": _markdown(cell.source) if cell.cell_type == "markdown" else ""}
    if "injected-parameters" in tags(cell):
        return {"kind": "parameters", "values": _short_parameters(cell.source)}
    outputs = [_output(output, f"figure-{number}-{place}") for place, output in enumerate(cell.outputs)]
    code = "" if HIDDEN_CODE in tags(cell) or not cell.source.strip() else _highlight(cell.source)
    return {"kind": "code", "code": code, "count": cell.execution_count, "outputs": outputs}


def _short_parameters(source: str) -> dict[str, str]:
    """Parameters papermill set, without empty ones and the folder the reader is looking at."""
    statements = [each for each in ast.parse(source).body if isinstance(each, ast.Assign)]
    values = {each.targets[0].id: ast.literal_eval(each.value) for each in statements}
    return {name: str(value) for name, value in values.items() if value != "" and name != "OUT_DIR"}


def _output(output, name: str) -> dict:
    """What the template shows of one output: ``html``, and what kind it is."""
    from nbconvert.filters import ansi2html

    if output.output_type == "stream":
        return {"kind": output.name, "html": f"<pre>{ansi2html(output.text)}</pre>"}
    if output.output_type == "error":
        trace = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        return {"kind": "error", "html": f"<pre>{ansi2html(trace)}</pre>"}
    data = output.data
    if PLOTLY in data:
        return {"kind": "figure", "plotly": True, "html": _plotly_html(data[PLOTLY], name)}
    if "text/html" in data:
        return {"kind": "html", "html": data["text/html"]}
    if WIDGET_VIEW in data:
        return {"kind": "widget", "html": "<p>Interactive control: run the notebook to use it.</p>"}
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            code = "".join(data[mime].split())
            return {"kind": "picture", "html": f'<img src="data:{mime};base64,{code}" alt="Figure of this cell">'}
    if "image/svg+xml" in data:
        return {"kind": "picture", "html": data["image/svg+xml"]}
    if "text/markdown" in data:
        return {"kind": "html", "html": _markdown(data["text/markdown"])}
    return {"kind": "text", "html": f"<pre>{ansi2html(data.get('text/plain', ''))}</pre>"}


def _plotly_html(figure: dict, name: str) -> str:
    parts = [figure["data"], figure["layout"], {"responsive": True, "displaylogo": False, **figure.get("config", {})}]
    # "</script>" inside a label must not end the script
    spelt = ", ".join(json.dumps(part).replace("</", "<\\/") for part in parts)
    height = figure["layout"].get("height", 450)
    return f'<div id="{name}" style="min-height:{height}px"></div><script>Plotly.newPlot("{name}", {spelt});</script>'


def _share_plotly(folder: Path) -> None:
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / PLOTLY_SCRIPT
    target = folder / PLOTLY_SCRIPT
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        with paths.replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _markdown(source: str) -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(source)


def _highlight(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(cssclass="code"))


def _card(run: NotebookRun, folder: Path) -> dict:
    import nbformat

    notebook = nbformat.read(run.notebook, as_version=4)
    title, question = outline(notebook)
    results = run.load_results() if run.green else {}
    return {
        "run": run,
        "title": title or run.name,
        "question": question,
        "link": Path(os.path.relpath(run.page, folder)).as_posix(),
        "picture": _thumbnail(notebook),
        "results": results,
        "claims": _short_claims(results.get("claims", {})),
    }


def _short_claims(claims: dict) -> dict[str, str]:
    """The first few claims that fit on a card: numbers, and values with their interval."""
    shown = {name.replace("_", " "): text for name, value in claims.items() if (text := _short(value))}
    return dict(list(shown.items())[:SHOWN_CLAIMS])


def _short(value) -> str | None:
    if isinstance(value, dict) and value.keys() >= {"value", "low", "high"}:
        return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _thumbnail(notebook) -> str | None:
    """First picture of the cell tagged ``cover``, else of the notebook, as a small PNG in base64."""
    from PIL import Image

    cells = sorted(
        (cell for cell in notebook.cells if cell.cell_type == "code"), key=lambda cell: COVER not in tags(cell)
    )
    pictures = (
        output.data["image/png"] for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})
    )
    first = next(pictures, None)
    if first is None:
        return None
    with Image.open(io.BytesIO(base64.b64decode(first))) as image:
        small = image.convert("RGB")
    small.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


@lru_cache
def _template(name: str):
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    folder = Path(__file__).parent / "page_templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"kit": KIT, "disclaimer": DISCLAIMER}
    return environment.get_template(name)


def _write(page: str, path: Path) -> Path:
    with paths.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
