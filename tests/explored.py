"""`koa explore` while it runs, as those who test it from outside need it."""

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager

import psutil


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def explored(*arguments, cwd, env=None, port=None):
    """`koa explore` in the block, and the address it printed."""
    command = [sys.executable, "-m", "koa_kit.cli", "explore", *map(str, arguments), "--no-browser"]
    command += ["--port", str(port or free_port())]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, **pipes) as process:
        try:
            line = process.stdout.readline()
            assert "http" in line, process.communicate()
            yield process, re.search(r"http\S+", line).group()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()  # or leaving the block would wait for ever
                    raise


def family(process) -> list[psutil.Process]:
    """The processes that a process started."""
    return psutil.Process(process.pid).children(recursive=True)
