"""The `koa` command: thin over the library, and the place where a `KoaError` becomes a message."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.ablate import ablate
from koa_kit.commands.data import app as data_app
from koa_kit.commands.explore import explore
from koa_kit.commands.train import evaluate, train
from koa_kit.errors import KoaError

app = typer.Typer(
    help="Grade knee osteoarthritis with words: notebooks, data, training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
for command in (train, evaluate, ablate, explore):
    app.command()(command)

DataDir = Annotated[Path | None, typer.Option(help="Folder with one subfolder a data set; default KOA_DATA_DIR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say for each requirement that it is met, or what to do.

    Example: koa doctor
    """
    from dataclasses import asdict

    from koa_kit.commands.doctor import check

    checks = check()
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in checks], indent=2))
    else:
        for line in checks:
            typer.echo(str(line))
    if not all(line.ok for line in checks):
        raise typer.Exit(1)


@app.command()
def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names, such as 03; none means all.")] = None,
    dataset: Annotated[str, typer.Option(help="phantom, oai-kl224 or a folder of your own.")] = "phantom",
    scale: Annotated[str, typer.Option(help="smoke, laptop or full.")] = "smoke",
    seed: int = 0,
    jobs: Annotated[int, typer.Option(help="Notebooks at the same time.")] = 1,
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


def main() -> None:
    """Run the command; a `KoaError` is shown as a message, without a traceback."""
    try:
        app()
    except KoaError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted; what was finished is kept.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
