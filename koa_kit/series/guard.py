"""What a notebook may not do while it is checked: an IPython extension that the series loads into its kernels."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from koa_kit import paths
from koa_kit.errors import KoaError

_ADDRESSES = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1}
_ADDRESSES |= {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
_PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.forkpty"}
_FILES = {"open": 0, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "shutil.rmtree": 0, "os.rename": 1, "os.link": 1}
"""Events of `sys.addaudithook`, with the argument that says whom or what it is about."""

_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1", re.IGNORECASE)
_OF_LIBRARIES = re.compile(r"[\\/](?:__pycache__|matplotlib)[\\/]|^/dev/")
_RUNNERS = {*sys.stdlib_module_names, "IPython", "ipykernel", "pexpect", "ptyprocess"}


def load_ipython_extension(shell) -> None:
    """Refuse the network, programs that a cell starts and files of others from now on, and use each control of a cell.

    The working folder is ``OUT_DIR/<notebook>``. What is refused raises `KoaError`; where a cell swallows it, and where
    a control fails, that is printed on stderr after the cell. Libraries in C that ask the system themselves go unseen.
    """
    refused: list[KoaError] = []
    used: set[str] = set()
    stderr, start = sys.stderr, time.time()
    libraries = filter(None, (os.environ.get("MPLCONFIGDIR"), sys.pycache_prefix))
    own = (Path.cwd().parent, paths.cache_dir(), Path(tempfile.gettempdir()))
    places = [place.resolve() for place in (*own, *map(Path, libraries))]

    def watch(event: str, arguments: tuple) -> None:
        if event in _ADDRESSES:
            fault = _address_fault(event, arguments[_ADDRESSES[event]])
        elif event in _PROGRAMS:
            program = os.fsdecode(next(filter(None, arguments), "a terminal"))
            fault = f"starts a program: {program}" if _acts(shell, _RUNNERS) else None
        else:
            fault = _file_fault(event, arguments, places, start, shell) if event in _FILES else None
        if fault:
            refused.append(KoaError(f"A notebook {fault}."))
            raise refused[-1]

    def report(result) -> None:
        error = result.error_before_exec or result.error_in_exec
        failures = () if error else _failures_of_controls(shell, used)
        while error:  # the notebook shows it already
            refused[:] = [each for each in refused if each is not error]
            error = error.__cause__ or error.__context__
        for text in dict.fromkeys([*map(str, refused), *failures]):
            print(text, file=stderr)
        refused.clear()

    sys.addaudithook(watch)
    shell.events.register("post_run_cell", report)


def _address_fault(event: str, address) -> str | None:
    host = address[0] if isinstance(address, tuple) and address else address if _ADDRESSES[event] == 0 else None
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and not _LOOPBACK.fullmatch(host) and (host or event == "socket.bind"):
        return f"reaches for the network: {host or 'all addresses'}"
    return None  # a socket of the file system or the system itself has no host


def _file_fault(event: str, arguments: tuple, places: list[Path], start: float, shell) -> str | None:
    path = arguments[_FILES[event]]
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    path = Path(os.path.realpath(os.fsdecode(path)))
    if _OF_LIBRARIES.search(str(path)):
        return None
    inside = any(path.is_relative_to(place) for place in places)
    if event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return None if inside else f"changes a file outside OUT_DIR: {path}"
    old = inside and path.is_file() and path.stat().st_mtime < start
    return f"reads what it did not write: {path}" if old and _acts(shell) else None


def _acts(shell, runners: set[str] | None = None) -> bool:
    """Whether a cell acts and not the kit; with `runners`, not any library but those."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals is not shell.user_ns:
        library = str(frame.f_globals.get("__name__")).split(".")[0]
        if frame.f_globals is not globals() and (library == "koa_kit" or (runners and library not in runners)):
            return False
        frame = frame.f_back
    return frame is not None


def _failures_of_controls(shell, used: set[str]) -> list[str]:
    """Use each new control of `ipywidgets` except the kit's own, which have their drivers; what failed, in words."""
    if "ipywidgets" not in sys.modules:
        return []
    from ipywidgets.widgets.widget import _instances

    failures, errors = [], []
    # ipywidgets hands what a click or an Output widget catches to the shell
    shell.showtraceback = lambda caught=None, **_: errors.append(caught[1] if caught else sys.exception())
    for key, control in [item for item in _instances.items() if item[0] not in used]:
        used.add(key)
        for use in _uses(control):
            try:
                use()
            except Exception as error:
                errors.append(error)
        name = getattr(control, "description", "") or type(control).__name__
        failures += [f"The control {name!r} fails: {type(error).__name__}: {error}" for error in errors]
        errors.clear()
    del shell.showtraceback
    return failures


def _uses(control) -> Iterator:
    callbacks = [*control._trait_notifiers.get("value", {}).get("change", ())]
    callbacks += getattr(getattr(control, "_click_handlers", None), "callbacks", ())
    if any(str(getattr(callback, "__module__", "")).startswith("koa_kit.") for callback in callbacks):
        return
    if hasattr(control, "click"):
        yield control.click
    value = getattr(control, "value", None)
    if isinstance(value, bool):
        others = [not value]
    elif hasattr(control, "_options_values") and not isinstance(value, tuple):
        others = control._options_values
    else:
        ends = () if isinstance(value, tuple) else ("min", "max")
        others = [getattr(control, end) for end in ends if hasattr(control, end)]
    for other in [*others, value] if others else ():
        yield lambda other=other: setattr(control, "value", other)
