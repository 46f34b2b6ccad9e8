"""``koa explore``: the workbench of a run as a page of its own, served by Voilà."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from koa_kit.errors import KoaError

RUN, DATA, LOG, SPLIT, BESIDE = (f"KOA_EXPLORE_{name}" for name in ("RUN", "DATA", "LOG", "SPLIT", "BESIDE"))
"""Environment of the served page: a path in a notebook's text would be code."""

CELL = """from koa_kit.workbench.server import asked_for
asked_for()"""


def asked_for():
    """Workbench of the run that the environment names, or a message that says why there is none."""
    from koa_kit.pretrained.load import DEFAULT
    from koa_kit.style import quieten
    from koa_kit.workbench.open import open_run

    quieten()
    named = {"data_dir": DATA, "log": LOG, "beside": BESIDE}
    options = {name: os.environ.get(key) or None for name, key in named.items()}
    return open_run(os.environ.get(RUN, DEFAULT), split=os.environ.get(SPLIT, "val"), **options)


def write_page(folder: str | os.PathLike) -> Path:
    """Notebook of one cell that shows `asked_for`, written into `folder`."""
    import nbformat

    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata.title = "koa_kit workbench"
    book.cells = [nbformat.v4.new_code_cell(CELL)]
    path = Path(folder) / "workbench.ipynb"
    nbformat.write(book, path)
    return path


def command(page: Path, *, port: int, browser: bool) -> list[str]:
    """Command that serves a notebook with Voilà, to this machine alone."""
    options = [f"--port={port}", "--Voila.ip=127.0.0.1", *([] if browser else ["--no-browser"])]
    return [sys.executable, "-m", "voila", str(page), *options]


def serve(
    run: str | None = None,
    *,
    split: str = "val",
    data_dir: str | os.PathLike | None = None,
    log: str | os.PathLike | None = None,
    beside: str | os.PathLike | None = None,
    port: int = 8866,
    browser: bool = True,
) -> int:
    """Exit status of Voilà after it served the workbench of `run`, to this machine alone, until it was interrupted.

    Options are those of `koa_kit.workbench.open.open_run`; without a run, the model that comes with the kit is shown.
    """
    if find_spec("voila") is None:
        raise KoaError("Voilà is not installed, which serves the page.", remedy="pip install 'koa_kit[notebooks]'")
    asked = {SPLIT: split}
    for key, place in ((RUN, run), (BESIDE, beside), (DATA, data_dir), (LOG, log)):
        if place:  # the page is served from another folder; the name of a model of the kit is no path
            path = key in (DATA, LOG) or Path(place).exists()
            asked[key] = str(Path(place).absolute() if path else place)
    with tempfile.TemporaryDirectory() as folder:
        served = command(write_page(folder), port=port, browser=browser)
        return subprocess.run(served, env={**os.environ, **asked}, check=False).returncode
