"""One notebook in a process of its own: the kernel is this interpreter, and its memory can be told from ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE = 15
"""Seconds a notebook process gets to stop its kernel once it is asked to end."""

OWN_FOLDERS = ("KOA_DATA_DIR", "KOA_CACHE_DIR")


def execute_apart(job: dict, *, timeout: float, offline: bool = True, threads: int | None = None) -> dict:
    """What papermill left to say after executing a notebook in a process of its own.

    Parameters
    ----------
    job
        ``source`` and ``executed`` (paths), ``parameters``, and ``cwd``, the kernel's working folder.
    timeout
        Seconds after which the process is stopped; cells finished by then are in the executed copy.
    offline
        Keep model hubs from being asked.
    threads
        Threads of the numerical libraries; omitted, what the environment says.

    Returns
    -------
    dict
        ``peak_mb``, the largest resident memory of the kernel in MB (10^6 bytes), where it could be read, and
        ``error``, ``None`` unless the process ran out of time or died; errors of cells stand in the executed copy.
    """
    with _private_jupyter(offline=offline, threads=threads) as environment:
        return _in_own_process(job, environment, timeout)


@contextmanager
def _private_jupyter(*, offline: bool, threads: int | None) -> Iterator[dict[str, str]]:
    """Environment of a notebook process: this interpreter as the kernel "python3", no user configuration."""
    from ipykernel.kernelspec import write_kernel_spec

    # a warning filter or a drawing backend of the caller's shell must not change what the page shows
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONWARNINGS", "MPLBACKEND")}
    # the kernel works in another folder, where a relative path would lead nowhere
    environment |= {key: os.path.abspath(os.environ[key]) for key in OWN_FOLDERS if os.environ.get(key)}
    with tempfile.TemporaryDirectory(prefix="koa-jupyter-", ignore_cleanup_errors=True) as folder:
        write_kernel_spec(str(Path(folder) / "kernels" / "python3"))
        environment |= {
            "JUPYTER_PATH": folder,
            "JUPYTER_RUNTIME_DIR": str(Path(folder) / "runtime"),
            "JUPYTER_CONFIG_DIR": str(Path(folder) / "config"),
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "KOA_STRICT": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONHASHSEED": "0",
            "PYTHONIOENCODING": "utf-8",
        }
        if offline:
            environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        if threads:
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        yield environment


def _in_own_process(job: dict, environment: dict[str, str], timeout: float) -> dict:
    """Reply of `_execute` run by a fresh interpreter; an ``error`` if it ran out of time or died."""
    process = subprocess.Popen(
        [sys.executable, "-m", "koa_kit.series.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    try:
        reply, complaint = process.communicate(json.dumps(job), timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped: it ran longer than {timeout:g} s"}
    finally:
        if process.poll() is None:
            _end(process)
    try:
        return json.loads(reply.splitlines()[-1])
    except (IndexError, ValueError):
        last = " ".join(complaint.split())[-300:]
        return {"error": f"its process ended with status {process.returncode}: {last}"}


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _execute(job: dict) -> dict:
    """Memory the kernel took at its peak, after papermill executed the notebook, and what went wrong beside it."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    error = None
    try:
        papermill.execute_notebook(
            job["source"],
            job["executed"],
            parameters=job["parameters"],
            kernel_name="python3",
            cwd=job["cwd"],
            progress_bar=False,
            start_timeout=120,
        )
    except PapermillExecutionError:
        pass  # the error stands in the notebook's outputs, where the contract finds it
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    return {"peak_mb": _peak_of_children(), "error": error}


def _peak_of_children() -> float | None:
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(_execute(json.load(sys.stdin))))
