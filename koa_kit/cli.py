"""The `koa` command: thin over the library, and the place where a `KoaError` becomes a message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.data import app as data_app
from koa_kit.commands.environment import doctor
from koa_kit.commands.grids import ablate
from koa_kit.commands.options import DataDir
from koa_kit.commands.training import evaluate, export, train
from koa_kit.errors import KoaError

app = typer.Typer(
    help="Grade knee osteoarthritis with words: notebooks, data, training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
INTERRUPTED = 130
"""Exit status after Ctrl-C."""

app.add_typer(data_app, name="data")
for command in (train, evaluate, export, ablate, doctor):
    app.command()(command)


@app.command()
def explore(
    run: Annotated[str | None, typer.Argument(help="Run folder or predictions.parquet; or the kit's model.")] = None,
    split: Annotated[str, typer.Option(help="val, or holdout where patients were set aside.")] = "val",
    data_dir: DataDir = None,
    log: Annotated[Path | None, typer.Option(help="File of readers' reviews; default next to the run.")] = None,
    beside: Annotated[Path | None, typer.Option(help="Another run of the same knees to compare with.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8866,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    ip: Annotated[str, typer.Option(help="Where to listen: 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    base_url: Annotated[str, typer.Option(help="Path or whole address behind a server that passes its Host on.")] = "/",
) -> None:
    """Open the workbench of a run in a browser, until Ctrl-C.

    It needs no radiographs: everything but the pictures works without them. Who opens the page needs the token in the
    address that is printed.

    Example: koa explore runs/lite0 --log verdicts.jsonl
    """
    from koa_kit.workbench.server import serve

    shown: dict = {"split": split, "data_dir": data_dir, "log": log, "beside": beside}
    serve(run, **shown, ip=ip, port=port, base_url=base_url, browser=browser)


@app.command()
def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names, such as 03; none means all.")] = None,
    dataset: Annotated[str, typer.Option(help="phantom, oai-kl224 or a folder of your own.")] = "phantom",
    scale: Annotated[str, typer.Option(help="smoke, laptop or full.")] = "smoke",
    seed: int = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at the same time.")] = 1,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option(help="Where pages go; default build, or build/DATASET-SCALE.")] = None,
) -> None:
    """Execute the notebooks and write them as pages.

    Example: koa run 00 01 --dataset oai-kl224 --scale laptop
    """
    from koa_kit.series.run import out_dir_for, run_series

    out = out or out_dir_for(dataset, scale)
    run_series(notebooks, dataset=dataset, scale=scale, seed=seed, data_dir=data_dir, out_dir=out, jobs=jobs)
    typer.echo(f"Open {out / 'index.html'}")


def main(command: typer.Typer = app) -> None:
    """Run a command; what a user can cause is shown as a message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):  # half a character in a name, or a sign that a terminal has not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except KoaError as error:
        shown = error
    except OSError as error:
        remedy = "Check that it exists, is of the kind that is asked for, and may be read or written by you."
        shown = KoaError(f"{error.strerror or error}.", where=error.filename, remedy=remedy)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            typer.echo("Stopped. What was finished is kept; koa train goes on with --resume.", err=True)
        raise
    else:
        return
    typer.echo(f"Error: {shown}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
