"""The notebook series, executed: one process a notebook, checked against the contract, shown as pages."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from koa_kit import paths
from koa_kit.errors import KoaError
from koa_kit.series.contract import PARAMETERS, Finding, check_executed, check_results
from koa_kit.series.notebook_run import NotebookRun
from koa_kit.series.process import execute_apart
from koa_kit.series.session import check_settings


class SeriesFailed(KoaError):
    """Some notebooks broke the contract; `runs` holds all of them, the green ones too."""

    def __init__(self, runs: Sequence[NotebookRun], index: Path):
        self.runs = list(runs)
        failed = [run for run in runs if not run.green]
        super().__init__(
            f"{len(failed)} of {len(runs)} notebooks failed.",
            where="\n    ".join(str(finding) for run in failed for finding in run.findings),
            remedy=f"Open {index}: the pages of failed notebooks are there too.",
        )


def out_dir_for(dataset: str, scale: str) -> Path:
    """Folder a run goes to where none is named: ``build``, or ``build/<dataset>-<scale>`` off the default."""
    default = (dataset, scale) == ("phantom", "smoke")
    return Path("build") if default else Path("build", f"{Path(dataset).name}-{scale}")


def find_notebooks(which: Sequence[str] | None = None, notebook_dir: str | os.PathLike | None = None) -> list[Path]:
    """Notebooks of the series in order; `which` picks some by number ("03"), name ("03_losses") or file name.

    Raises
    ------
    KoaError
        If there is none, or an entry of `which` fits none.
    """
    folder = Path(notebook_dir) if notebook_dir else paths.resource("notebooks")
    found = sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))
    if not found:
        raise KoaError("There are no notebooks here.", where=folder.absolute())
    wanted = set()
    for entry in [which] if isinstance(which, str | int) else which or ():
        word = Path(f"{entry:02d}" if isinstance(entry, int) else entry).name.removesuffix(".ipynb")
        fitting = [path for path in found if word in (path.stem, path.stem.split("_")[0])]
        if not fitting:
            remedy = _nearest(word, [path.stem for path in found])
            raise KoaError(f"There is no notebook {word!r}.", where=folder, remedy=remedy)
        wanted.update(fitting)
    return [path for path in found if not wanted or path in wanted]


def check_parameters(notebook: str | os.PathLike, given: Sequence[str]) -> None:
    """Raise `KoaError` if the notebook's parameters cell lacks one of the names `given`, naming the closest it has.

    papermill itself only logs a misspelt parameter and runs with the default.
    """
    import papermill

    try:
        known = list(papermill.inspect_notebook(str(notebook)))
    except Exception as error:  # no notebook at all, or none with a Python kernel: half a dozen unrelated types
        remedy = "Run `make format`, which names the kernel, or restore the file."
        raise KoaError(f"The notebook cannot be inspected: {error}", where=notebook, remedy=remedy) from error
    for name in given:
        if name not in known:
            remedy = _nearest(name.upper(), known)
            raise KoaError(f"The notebook has no parameter {name!r}.", where=notebook, remedy=remedy)


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return (f"Did you mean {near[0]}? " if near else "") + f"Known are {', '.join(known) or 'none'}."


def run_notebook(
    notebook: str | os.PathLike,
    *,
    dataset: str = "phantom",
    scale: str = "smoke",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    out_dir: str | os.PathLike = "build",
    parameters: dict | None = None,
    timeout: float = 900,
    threads: int | None = None,
) -> NotebookRun:
    """One notebook executed in a process of its own, with what the contract finds in it; no page yet.

    The kernel is this interpreter's, whatever kernels the user has installed; the working folder is
    ``out_dir/results/<notebook>``, the executed copy ``out_dir/notebooks/<notebook>.ipynb``.

    Parameters
    ----------
    parameters
        More parameters by name, over those that the other arguments give.
    timeout
        Seconds after which the notebook is stopped.
    threads
        Threads of the numerical libraries; omitted, what the environment says.

    Raises
    ------
    KoaError
        If a parameter is unknown. What happens inside the notebook becomes a finding instead.
    """
    source, out_dir = Path(notebook).resolve(), Path(out_dir).resolve()
    if os.sep in dataset or dataset in (".", ".."):  # the kernel works in another folder
        dataset = str(Path(dataset).expanduser().resolve())
    values = {"DATASET": dataset, "SCALE": scale, "SEED": seed, "OUT_DIR": str(out_dir / "results")}
    values["DATA_DIR"] = str(Path(data_dir).expanduser().resolve()) if data_dir else ""
    values |= parameters or {}
    check_parameters(source, list(values))
    run = NotebookRun(
        name=source.stem,
        notebook=out_dir / "notebooks" / source.name,
        page=out_dir / "pages" / f"{source.stem}.html",
        results=Path(values["OUT_DIR"]) / source.stem / "results.json",
        dataset=values["DATASET"],
        scale=values["SCALE"],
        seed=values["SEED"],
    )
    for path in (run.notebook, run.page, run.results):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    job = {"source": str(source), "executed": str(run.notebook), "parameters": values, "cwd": str(run.results.parent)}
    start = time.perf_counter()
    reply = execute_apart(job, timeout=timeout, offline=run.scale != "full", threads=threads)
    run = replace(run, seconds=time.perf_counter() - start, peak_mb=reply.get("peak_mb"))
    return replace(run, findings=tuple(_findings(run, reply.get("error"))))


def _findings(run: NotebookRun, error: str | None) -> Iterator[Finding]:
    """Breaches of the contract by an executed notebook, whose widget state is dropped once it has been looked at."""
    import nbformat

    place, ended = "", not error
    if run.notebook.exists():
        notebook = nbformat.read(run.notebook, as_version=4)
        yield from check_executed(notebook, run.name)
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        running = [cell for cell in code if cell.metadata.get("papermill", {}).get("status") == "running"]
        place = f"cell `{running[0].source.strip().splitlines()[0][:60]}`" if running else ""
        ended = ended and bool(code) and code[-1].execution_count is not None
        if notebook.metadata.pop("widgets", None):
            nbformat.write(notebook, run.notebook)
    if error:
        yield Finding(run.name, place, error)
    elif ended:
        yield from check_results(run.results, run.name)


def run_series(
    which: Sequence[str] | None = None,
    *,
    dataset: str = "phantom",
    scale: str = "smoke",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    out_dir: str | os.PathLike | None = None,
    jobs: int = 1,
    parameters: dict | None = None,
    notebook_dir: str | os.PathLike | None = None,
    timeout: float = 900,
    progress: bool = True,
) -> list[NotebookRun]:
    """The notebooks' runs in order, with a page for each and ``index.html``.

    Parameters
    ----------
    which
        Numbers or names of notebooks; omitted, all.
    dataset, scale, seed, data_dir
        Handed to every notebook; see `koa_kit.series.session.begin`.
    out_dir
        Omitted, `out_dir_for` the data set and scale.
    jobs
        Notebooks run at the same time.
    notebook_dir
        Omitted, the kit's own ``notebooks``.
    parameters, timeout
        For each notebook; see `run_notebook`.
    progress
        Print one line a notebook.

    Raises
    ------
    KoaError
        Before anything runs, if a notebook or a parameter is unknown; `SeriesFailed` at the end, naming every
        breach of the contract, when all notebooks have run and all pages are written.
    """
    from rich.console import Console

    from koa_kit.series import pages

    if jobs < 1:
        raise KoaError(f"{jobs} notebooks at a time run nothing.", where="jobs", remedy="Give 1 or more.")
    check_settings(dataset, scale, seed)
    notebooks = find_notebooks(which, notebook_dir)
    out_dir = Path(out_dir or out_dir_for(dataset, scale)).resolve()
    for notebook in notebooks:
        check_parameters(notebook, [*PARAMETERS, *(parameters or {})])

    def run_one(notebook: Path) -> NotebookRun:
        return run_notebook(
            notebook,
            dataset=dataset,
            scale=scale,
            seed=seed,
            data_dir=data_dir,
            out_dir=out_dir,
            parameters=parameters,
            timeout=timeout,
            threads=max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None,
        )

    runs = {path.stem: run for path in find_notebooks(None, notebook_dir) if (run := _remembered(path.stem, out_dir))}
    names = sorted({path.stem for path in notebooks} | runs.keys())
    console = Console(quiet=not progress, force_jupyter=False, highlight=False)
    with ThreadPoolExecutor(jobs) as pool, console.status("running the notebooks"):
        # one at a time stays in this thread, where an interrupt ends the notebook's process too
        for run in (pool.map if jobs > 1 else map)(run_one, notebooks):
            runs[run.name] = run
            pages.export_run(run, names, out_dir)
            _remember(run, out_dir)
            console.print(run.line)
    index = pages.write_index([runs[name] for name in names], out_dir / "index.html")
    fresh = [runs[path.stem] for path in notebooks]
    if not all(run.green for run in fresh):
        raise SeriesFailed(fresh, index)
    return fresh


def _remember(run: NotebookRun, out_dir: Path) -> None:
    with paths.replacing(out_dir / "notebooks" / f"{run.name}.run.json") as temporary:
        temporary.write_text(json.dumps(asdict(run), indent=1, default=str), encoding="utf-8")


def _remembered(name: str, out_dir: Path) -> NotebookRun | None:
    """Run an earlier call left in `out_dir`, so that running one notebook again keeps the others' cards."""
    record = out_dir / "notebooks" / f"{name}.run.json"
    if not record.exists():
        return None
    kept = json.loads(record.read_text(encoding="utf-8"))
    places = {key: Path(kept[key]) for key in ("notebook", "page", "results")}
    run = NotebookRun(**{**kept, **places, "findings": tuple(Finding(**each) for each in kept["findings"])})
    return run if run.notebook.exists() and run.page.exists() and (run.results.exists() or not run.green) else None
