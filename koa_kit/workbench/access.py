"""Voilà for those alone who know the address: a token, a check of the host, and nothing that comes from elsewhere."""

from __future__ import annotations

import html
import re
import signal
import socket
import sys
import threading
import webbrowser
from pathlib import Path

from jupyter_server.auth.identity import IdentityProvider
from tornado.web import HTTPError
from traitlets import Bool, Unicode
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
"""What the browser may load for the page: what this server gives, and what the page itself holds."""

LONGEST = 40
"""Characters of a folder in which the names of a kernel's sockets are not too long for the system."""

ELSEWHERE = re.compile(r'<link\b[^>]*\bhref="https?:[^>]*>')
ERROR = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{{ status_code }}: {{ status_message }}</title>
<body style="font:15px/1.5 system-ui,sans-serif;text-align:center;margin:15vh 1em">
<h1>{{ status_code }}: {{ status_message }}</h1>
{% if status_code == 403 %}<p>Open the address that koa explore printed in the terminal, with its token.</p>{% endif %}
{% block error_detail %}{% endblock %}</body></html>
"""


class TokenAlone(IdentityProvider):
    """Whoever brings neither the token nor the cookie that was given for it is refused; no form asks for it."""

    login_available = logout_available = False

    async def get_user(self, handler):
        user = await self._get_user(handler)
        if user is None:
            handler.current_user = None  # the page that says so asks for it
            raise HTTPError(403)
        if isinstance(handler, TornadoVoilaHandler):
            handler.current_user = user
            _ = handler.xsrf_token  # sets a cookie, without which a page that is left may not end its kernel
        return user


class GuardedVoila(Voila):
    """Voilà whose templates load nothing from elsewhere, and which says and opens the `address` with its token."""

    address = Unicode()
    shown = Bool()  # in a browser

    def setup_template_dirs(self) -> None:
        super().setup_template_dirs()
        self.template_paths.insert(0, str(local_templates(self.template_paths, Path(self.root_dir))))

    def init_settings(self) -> dict:
        # whoever uses this machine may listen at a kernel's ports, and nobody else at sockets in this folder
        if hasattr(socket, "AF_UNIX") and len(self.connection_dir) <= LONGEST:
            self.update_config(Config(KernelManager={"transport": "ipc"}))
        return super().init_settings()

    def launch_browser(self) -> None:  # called as soon as it listens
        print(f"The workbench is at {self.address}\nCtrl-C stops it.", flush=True)
        if not self.shown:
            return
        # a command line is seen by every user of the machine, a file in this folder is not
        page = Path(self.connection_dir) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0;url={html.escape(self.address)}">', encoding="utf-8")
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()


def local_templates(paths: list[str], home: Path) -> Path:
    """Folder in `home` with those templates that link to other servers, without the links, and a page for errors."""
    folder = home / "templates"
    folder.mkdir()
    first: dict[str, Path] = {}
    for path in (file for place in paths for kind in ("*.html", "*.j2") for file in sorted(Path(place).glob(kind))):
        first.setdefault(path.name, path)  # as a template is looked up
    for name, path in first.items():
        text = path.read_text(encoding="utf-8")
        if ELSEWHERE.search(text):
            (folder / name).write_text(ELSEWHERE.sub("", text), encoding="utf-8")
    (folder / "error.html").write_text(ERROR, encoding="utf-8")
    return folder


def run_voila(
    page: Path, address: str, token: str, *, ip: str, port: int, base_url: str, hosts: list[str] | None, browser: bool
) -> None:
    """Serve a notebook at `address` until Ctrl-C, or SIGTERM or SIGHUP, which end it and its kernels.

    `hosts` are the names of this machine that a request may ask for, besides its loopback addresses; ``None`` for all.
    """
    app = GuardedVoila.instance(
        notebook_path=str(page),
        address=address,
        token=token,
        identity_provider_class=TokenAlone,
        ip=ip,
        port=port,
        port_retries=0,
        base_url=base_url,
        shown=browser,
        config_file_paths=[],  # a file of settings in the present folder may be anyone's
        log_level="ERROR",
        tornado_settings={
            "allow_remote_access": hosts is None,
            "local_hostnames": hosts or [],
            "headers": {"Content-Security-Policy": POLICY},
        },
        config=Config(
            VoilaConfiguration={"allow_template_override": "NO"},
            TokenAlone={"cookie_options": {"samesite": "Strict"}},
        ),
    )
    app.initialize([])
    ended = []

    def end(number: int, _) -> None:
        ended.append(number)
        # an exception that is raised in the midst of a request would be that request's alone
        loop = getattr(app, "ioloop", None) or sys.exit(128 + number)
        loop.add_callback_from_signal(loop.stop)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, end)
    app.start()
    if ended and ended[0] != signal.SIGINT:
        sys.exit(128 + ended[0])
