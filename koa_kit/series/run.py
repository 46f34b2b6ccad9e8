"""The notebook series, executed, checked against the contract and shown as pages."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from filelock import Timeout

from koa_kit import paths
from koa_kit.data.manifest import find_dataset, load_manifest
from koa_kit.engine.scratch import alone
from koa_kit.engine.seals import seal, unbroken
from koa_kit.errors import KoaError
from koa_kit.series.contract import PARAMETERS
from koa_kit.series.execution import NotebookRun, execute_notebook
from koa_kit.series.session import check_settings


class SeriesFailed(KoaError):
    """Some notebooks broke the contract; `runs` holds all of them, the green ones too."""

    def __init__(self, runs: Sequence[NotebookRun], index: Path):
        self.runs = list(runs)
        failed = [run for run in runs if not run.green]
        super().__init__(
            f"{len(failed)} of {len(runs)} notebooks failed.",
            where="\n    ".join(f"{run.name}: {finding}" for run in failed for finding in run.findings),
            remedy=f"Open {index}: the pages of failed notebooks are there too.",
        )


def out_dir_for(dataset: str, scale: str) -> Path:
    """Folder a run goes to where none is named: ``build``, or ``build/<dataset>-<scale>`` off the default."""
    default = (dataset, scale) == ("phantom", "smoke")
    return Path("build") if default else Path("build", f"{Path(dataset).name}-{scale}")


def find_notebooks(which: Sequence[str] | None = None, notebook_dir: str | os.PathLike | None = None) -> list[Path]:
    """Notebooks of the series in order; `which` picks some by number ("03"), name ("03_losses") or file name.

    Raises `KoaError` if there is none, or an entry of `which` fits none.
    """
    folder = Path(notebook_dir) if notebook_dir else paths.resource("notebooks")
    every = sorted(folder.glob("[!.]*.ipynb"))
    if not every:
        raise KoaError("There are no notebooks here.", where=folder.absolute())
    wanted = set()
    for entry in which or ():
        word = Path(entry).name.removesuffix(".ipynb")
        fitting = [path for path in every if word in (path.stem, path.stem.split("_")[0])]
        if not fitting:
            remedy = _nearest(word, [path.stem for path in every])
            raise KoaError(f"There is no notebook {word!r}.", where=folder, remedy=remedy)
        wanted.update(fitting)
    return [path for path in every if not wanted or path in wanted]


def check_parameters(notebook: str | os.PathLike) -> None:
    """Raise `KoaError` if the notebook's parameters cell lacks one of `PARAMETERS`, naming the closest it has.

    papermill itself only logs a misspelt parameter and runs with the default.
    """
    import papermill

    try:
        known = list(papermill.inspect_notebook(str(paths.plain_file(notebook))))
    except Exception as error:  # no notebook at all, or none with a Python kernel: half a dozen unrelated types
        remedy = 'Choose the kernel "Python 3" and save the notebook, or restore the file.'
        raise KoaError(f"The notebook cannot be inspected: {error}", where=notebook, remedy=remedy) from error
    for name in PARAMETERS:
        if name not in known:
            remedy = _nearest(name, known)
            raise KoaError(f"The notebook has no parameter {name!r}.", where=notebook, remedy=remedy)


def _check_dataset(dataset: str, data_dir: str | os.PathLike | None) -> None:
    """Raise `KoaError` unless these knees are here: told once, not by every notebook."""
    entry = load_manifest().get(dataset)
    if entry and entry.access != "generated":
        find_dataset(dataset, data_dir)
    elif not entry and not os.path.isdir(dataset):
        raise KoaError(f"There is no data set and no folder {dataset!r}.", remedy=_nearest(dataset, [*load_manifest()]))


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return (f"Did you mean {near[0]}? " if near else "") + f"Known are {', '.join(known) or 'none'}."


def run_series(
    which: Sequence[str] | None = None,
    *,
    dataset: str = "phantom",
    scale: str = "smoke",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    out_dir: str | os.PathLike | None = None,
    jobs: int = 1,
    notebook_dir: str | os.PathLike | None = None,
    timeout: float = 900,
) -> list[NotebookRun]:
    """The notebooks' runs in order, with a page for each and ``index.html``; all in `out_dir`, else `out_dir_for`.

    Raises `KoaError` before anything runs if a notebook, a parameter or the data set is unknown, and `SeriesFailed` at
    the end, with every breach of the contract. `timeout` is in seconds and for one notebook.
    """
    from pydantic import TypeAdapter
    from rich.console import Console

    from koa_kit.series.pages import write_index, write_page

    check_settings(dataset, scale, seed)
    notebooks = [path.resolve() for path in find_notebooks(which, notebook_dir)]
    out_dir = Path(out_dir or out_dir_for(dataset, scale)).resolve()
    if os.sep in dataset or dataset in (".", ".."):  # the kernel works in another folder
        dataset = str(Path(dataset).expanduser().resolve())
    _check_dataset(dataset, data_dir)
    folder = str(Path(data_dir).expanduser().resolve()) if data_dir else ""
    values = dict(zip(PARAMETERS, (dataset, scale, seed, folder, str(out_dir / "results")), strict=True))
    for notebook in notebooks:
        check_parameters(notebook)
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    execute = partial(execute_notebook, out_dir=out_dir, parameters=values, timeout=timeout, threads=threads)

    console = Console(force_jupyter=False, highlight=False)
    with _alone_in(out_dir), ThreadPoolExecutor(jobs) as pool, console.status("running the notebooks"):
        # what earlier calls left, so that running one notebook again keeps the others' cards
        others = [path for path in find_notebooks(None, notebook_dir) if path.resolve() not in notebooks]
        found = (earlier_run(out_dir / "notebooks" / f"{path.stem}.record.json") for path in others)
        runs = {run.name: run for run in found if run}
        names = sorted({path.stem for path in notebooks} | runs.keys())
        # one at a time stays in this thread, where an interrupt ends the notebook's process too
        for run in (pool.map if jobs > 1 else map)(execute, notebooks):
            runs[run.name] = run
            write_page(run, names, out_dir)
            with paths.replacing(record := run.notebook.with_suffix(".record.json")) as temporary:
                temporary.write_bytes(TypeAdapter(NotebookRun).dump_json(run, indent=1))
            seal(record.with_suffix(".seal"), _left_by(record, run))
            memory = f"{run.peak_mb:,.0f} MB" if run.peak_mb else "memory unknown"
            state = "green" if run.green else "FAILED"
            console.print(f"{run.name:<24} {state:<6} {run.seconds:6.1f} s  {memory:>9}")
        index = write_index([runs[name] for name in names], out_dir / "index.html")
    fresh = [runs[path.stem] for path in notebooks]
    if not all(run.green for run in fresh):
        raise SeriesFailed(fresh, index)
    return fresh


def earlier_run(record: Path) -> NotebookRun | None:
    """Run of a notebook that an earlier call left; ``None``, and a line that says so, if its files were changed since.

    Calls of earlier versions left no seal: their files are taken if they can be shown.
    """
    from pydantic import TypeAdapter

    from koa_kit.series.pages import card

    if not record.exists():
        return None
    name, sealed = record.name.removesuffix(".record.json"), record.with_suffix(".seal")
    try:
        run = TypeAdapter(NotebookRun).validate_json(paths.plain_file(record).read_bytes())
        files = _left_by(record, run)
        whole = len(files) >= (4 if run.green else 3) and (not sealed.exists() or unbroken(sealed, files))
        if whole and run.name == name and card(run):
            return run
    except Exception:  # files of anyone: each of their readers fails in its own way
        pass
    print(f"{name}: the page of an earlier run is not whole, and left out of the index. Run it again.")
    return None


def _left_by(record: Path, run: NotebookRun) -> list[Path]:
    """Files of a run that are there: its record, notebook and page, and the results unless it failed."""
    return [path for path in (record, run.notebook, run.page, run.results) if path.is_file()]


@contextmanager
def _alone_in(out_dir: Path) -> Iterator[None]:
    """Hold the folder that pages go to; `KoaError` if another process does."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(alone(out_dir / ".lock", timeout=0))
        except Timeout:
            remedy = "Wait for it, or choose another folder with --out."
            raise KoaError("Another process writes pages into this folder.", where=out_dir, remedy=remedy) from None
        yield
