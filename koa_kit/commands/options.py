"""Options that several commands share, each declared once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koa_kit.errors import KoaError

if TYPE_CHECKING:
    import pandas as pd

    from koa_kit.cohort import Cohort
    from koa_kit.training.config import TrainConfig

DataDir = Annotated[Path | None, typer.Option(help="Folder with one subfolder per data set; default KOA_DATA_DIR.")]
Runs = Annotated[Path, typer.Option(help="Folder of run folders.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")]
Change = Annotated[list[str] | None, typer.Option("--set", help="Another option as NAME=VALUE: --set epochs=12.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]

SkipRefused = Annotated[bool, typer.Option("--skip-refused", help="Go on without images that are refused.")]


def print_refused(cohort: Cohort) -> None:
    """Say on stderr how many images were left out because they are refused, and the first twenty of them."""
    from koa_kit.data.sources.plan import LISTED_AT_MOST, REFUSED

    refused = cohort.excluded[cohort.excluded["reason"].str.startswith(REFUSED)]
    if len(refused):
        typer.echo(f"{len(refused)} refused image(s) were left out, {len(cohort)} are used:", err=True)
    for row in refused.head(LISTED_AT_MOST).itertuples():
        typer.echo(f"  {row.part}: {row.reason.removeprefix(REFUSED)}", err=True)
    if len(refused) > LISTED_AT_MOST:
        typer.echo(f"  and {len(refused) - LISTED_AT_MOST} more: koa data audit lists all", err=True)


def refuse_unused(configs: list[TrainConfig], changes: list[str] | None) -> None:
    """Raise `KoaError` if a choice that was named changes nothing in any of these runs."""
    from koa_kit.configuration import parsed
    from koa_kit.training.effects import without_effect

    names = list(parsed(changes or []))
    unused = [without_effect(config, names) for config in configs]
    for name in names:
        if all(name in one for one in unused):
            raise KoaError(
                f"{name} changes nothing in this run.",
                where=next(text for text in changes or () if text.partition("=")[0].strip() == name),
                remedy=f"It counts with {unused[0][name]}: choose that too, or leave {name} out.",
            )


def print_json(content: object) -> None:
    """Print `content` as JSON; what JSON has no type for is printed as text."""
    typer.echo(json.dumps(content, indent=2, default=str))


def json_rows(table: pd.DataFrame) -> list[dict]:
    """Rows of a table in the types of JSON, a missing value as ``null``."""
    return json.loads(table.to_json(orient="records"))
