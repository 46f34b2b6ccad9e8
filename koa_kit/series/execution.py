"""One notebook executed by papermill in a process of its own, and checked: its time and memory are its own too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from koa_kit.series.contract import check_executed, check_results


@dataclass(frozen=True)
class NotebookRun:
    """One executed notebook: its files, time and findings.

    ``notebook``, ``page`` and ``results`` are the executed copy, its HTML page and its ``results.json``, which a failed
    run may lack; ``peak_mb`` is the kernel's largest resident memory (10^6 bytes), ``None`` where it is unknown.
    """

    name: str
    notebook: Path
    page: Path
    results: Path
    dataset: str
    scale: str
    seed: int
    seconds: float = 0.0
    peak_mb: float | None = None
    findings: tuple[str, ...] = ()

    @property
    def green(self) -> bool:
        """True if there is no finding."""
        return not self.findings

    def load_results(self) -> dict:
        """Content of ``results.json``."""
        return json.loads(self.results.read_text(encoding="utf-8"))


def execute_notebook(
    source: Path, out_dir: Path, parameters: dict, *, timeout: float = 900, threads: int | None = None
) -> NotebookRun:
    """`NotebookRun` of `source` in `out_dir`, with the findings of the contract; its page is not written.

    The kernel is this interpreter's, whatever kernels the user has installed; `timeout` is in seconds, and omitted
    `threads` of the numerical libraries are what the environment says. Cells that end before the time limit are in the
    executed copy, from which the widget state is dropped once it is checked. Except at full scale, which may fetch
    weights, the kernel runs under `koa_kit.series.guard`.
    """
    run = NotebookRun(
        name=source.stem,
        notebook=out_dir / "notebooks" / source.name,
        page=out_dir / "pages" / f"{source.stem}.html",
        results=Path(parameters["OUT_DIR"]) / source.stem / "results.json",
        dataset=parameters["DATASET"],
        scale=parameters["SCALE"],
        seed=parameters["SEED"],
    )
    for path in (run.notebook, run.page, run.results):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    job = {"input_path": str(source), "output_path": str(run.notebook), "parameters": parameters}
    job["cwd"] = str(run.results.parent)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="koa-jupyter-", ignore_cleanup_errors=True) as home:
        environment = _environment(home, offline=run.scale != "full", threads=threads)
        peak_mb, error = _in_own_process(job, environment, timeout)
    seconds = time.perf_counter() - start
    return replace(run, seconds=seconds, peak_mb=peak_mb, findings=tuple(_findings(run, error)))


def _environment(home: str, *, offline: bool, threads: int | None) -> dict[str, str]:
    """Environment of a notebook process: this interpreter as the kernel "python3", no user configuration."""
    from ipykernel.kernelspec import write_kernel_spec

    guard = ["--ext=koa_kit.series.guard"] if offline else []
    write_kernel_spec(os.path.join(home, "kernels", "python3"), extra_arguments=guard)
    # a warning filter or a drawing backend of the caller's shell must not change what the page shows, and a proxy on
    # this machine would hide from the guard whom a cell asks
    dropped = re.compile(
        "PYTHONWARNINGS|MPLBACKEND" + r"|\w+_proxy" * offline, re.IGNORECASE
    )  # a proxy may be loopback
    environment = {key: value for key, value in os.environ.items() if not dropped.fullmatch(key)}
    for folder in ("KOA_DATA_DIR", "KOA_CACHE_DIR"):  # the kernel works elsewhere, where a relative path leads nowhere
        if environment.get(folder):
            environment[folder] = os.path.abspath(environment[folder])
    private = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "TMPDIR")
    os.mkdir(os.path.join(home, "TMPDIR"))
    environment |= {"JUPYTER_PATH": home} | {name: os.path.join(home, name) for name in private}
    environment |= {"KOA_STRICT": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    if offline:
        environment |= dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"), "1")
    if threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return environment


def _in_own_process(job: dict, environment: dict[str, str], timeout: float) -> tuple[float | None, str | None]:
    """Peak memory and error that `_execute_here` returns in a fresh interpreter, or why there is none."""
    command = [sys.executable, "-m", __name__]
    options: dict = {"input": json.dumps(job), "capture_output": True, "encoding": "utf-8", "env": environment}
    try:
        done = subprocess.run(command, timeout=timeout, **options)
        return tuple(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:  # the kernel ends itself once its parent is gone
        return None, f"stopped: it ran longer than {timeout:g} s"
    except (IndexError, ValueError):
        return None, f"its process ended with status {done.returncode}: {' '.join(done.stderr.split())[-300:]}"


def _execute_here(job: dict) -> tuple[float | None, str | None]:
    """Largest resident memory of the kernel in MB, and what went wrong outside the cells."""
    import papermill

    from koa_kit.series.kernel import WakefulManager

    error = None
    try:
        options = {"kernel_name": "python3", "progress_bar": False, "start_timeout": 120}
        papermill.execute_notebook(**job, **options, kernel_manager_class=WakefulManager)
    except papermill.PapermillExecutionError:
        pass  # the error stands in the notebook's outputs, where the contract finds it
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None, error
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, error


def _findings(run: NotebookRun, error: str | None) -> list[str]:
    """Findings of the executed copy, `error` with the cell that ran when it came, and those of the results."""
    import nbformat

    if not run.notebook.exists():
        return [error or "it left no notebook"]
    notebook = nbformat.read(run.notebook, as_version=4)
    findings = check_executed(notebook)
    if notebook.metadata.pop("widgets", None):
        nbformat.write(notebook, run.notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if error:
        running = (cell.source for cell in code if cell.metadata.get("papermill", {}).get("status") == "running")
        return [*findings, "".join(f"cell `{source.strip().splitlines()[0][:60]}`: " for source in running) + error]
    ran = all(cell.execution_count is not None for cell in code)
    return findings + check_results(run.results) if ran else findings


if __name__ == "__main__":
    print(json.dumps(_execute_here(json.load(sys.stdin))))
