"""``koa explore``: the workbench of a run as a page of its own, served by Voilà."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import secrets
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from koa_kit.errors import KoaError
from koa_kit.pretrained.names import DEFAULT, pretrained_names
from koa_kit.workbench.places import check_places, log_of

RUN, DATA, LOG, SPLIT, BESIDE = (f"KOA_EXPLORE_{name}" for name in ("RUN", "DATA", "LOG", "SPLIT", "BESIDE"))
"""Environment of the served page: a path in a notebook's text would be code."""

CELL = """from koa_kit.workbench.server import asked_for
asked_for()"""
HERE = "127.0.0.1"
TO_OTHERS = """Warning: others can reach the page. Whoever has its address sees the radiographs and writes reviews;
nothing on the way is encrypted, unless a server in between does it."""


def asked_for():
    """Workbench of the run that the environment names, or a message that says why there is none."""
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


def serve(
    run: str | os.PathLike | None = None,
    *,
    split: str = "val",
    data_dir: str | os.PathLike | None = None,
    log: str | os.PathLike | None = None,
    beside: str | os.PathLike | None = None,
    ip: str = HERE,
    port: int = 8866,
    base_url: str = "/",
    browser: bool = True,
) -> None:
    """Serve the workbench of `run`, at an address with a token, until it is interrupted or terminated.

    Parameters
    ----------
    run, split, data_dir, log, beside
        As in `koa_kit.workbench.open.open_run`; without a run, the model that comes with the kit.
    ip, port
        Where to listen. On this machine's own address, requests for other hosts are refused.
    base_url
        Path of the page, or its whole address where another server passes requests on.
    browser
        Whether a browser is opened.

    Raises
    ------
    KoaError
        If there is nothing to show, or the place to listen at is taken; before anything is served. The token is new
        each time; another is given by the variable ``JUPYTER_TOKEN``.
    """
    if find_spec("voila") is None:
        raise KoaError("Voilà is not installed, which serves the page.", remedy="pip install 'koa_kit[notebooks]'")
    source = DEFAULT if run is None else run
    check_places(source, split, log=log, beside=beside)
    check_port(ip, port)
    outside, path = base_address(base_url)
    local, token = is_loopback(ip), os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(24)
    if not local or outside or path != "/":
        print(TO_OTHERS, file=sys.stderr, flush=True)
    asked = {RUN: source, BESIDE: beside, DATA: data_dir, LOG: log_of(source, log)}
    for key, place in asked.items():
        # the page is served from another folder; the name of a model of the kit is no path
        named = place is None or (key in (RUN, BESIDE) and str(place) in pretrained_names())
        os.environ[key] = str(place or "") if named else str(Path(place or "").absolute())
    os.environ[SPLIT] = split
    # a request may ask for a name of this machine alone: a page of the web that renames itself to it is refused
    hosts = ["localhost", urlsplit(outside).hostname or ""] if local else None
    whole = f"{outside or own_address(ip, port)}{path}?{urlencode({'token': token})}"
    from koa_kit.workbench.access import run_voila

    with tempfile.TemporaryDirectory(prefix="koa-explore-") as folder:
        page = write_page(folder)
        run_voila(page, whole, token, ip=ip, port=port, base_url=path, hosts=hosts, browser=browser)


def check_port(ip: str, port: int) -> None:
    """Raise `KoaError` if one cannot listen there."""
    from tornado.netutil import bind_sockets

    place = f"{ip}:{port}"
    if not ip.strip():
        raise KoaError("The address to listen at is empty.", remedy=f"Leave --ip out, for {HERE} alone.")
    try:
        for listener in bind_sockets(port, ip):
            listener.close()
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            remedy = f"Stop what listens there, or choose another: --port {port + 1}"
            raise KoaError("The port is taken.", where=place, remedy=remedy) from error
        what = f"The page cannot be served there: {getattr(error, 'strerror', None) or error}."
        raise KoaError(what, where=place, remedy="Choose another --port, or an --ip of this machine.") from error


def is_loopback(ip: str) -> bool:
    """True if an address, or a name, is reached from this machine alone."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(ip, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(each).is_loopback for each in found)


def own_address(ip: str, port: int) -> str:
    """Scheme, host and port under which this machine is reached, its name where it listens everywhere."""
    name = socket.gethostname() if ip in ("0.0.0.0", "::") else ip
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def base_address(base_url: str) -> tuple[str, str]:
    """Scheme and host, or "" where none is named, and path that begins and ends with a slash, of a ``--base-url``."""
    found = re.fullmatch(r"(?:(https?://[\w.-]+(?::\d+)?)(?=/|$))?([\w.~/-]*)", base_url, re.ASCII)
    if not found:
        remedy = "Give a path such as /knees/, or an address such as https://example.org/knees/."
        raise KoaError("This is no base of an address.", where=base_url, remedy=remedy)
    return found[1] or "", re.sub("/+", "/", f"/{found[2]}/")
