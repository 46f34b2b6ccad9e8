"""Options that several commands share, each declared once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

DataDir = Annotated[Path | None, typer.Option(help="Folder with one subfolder per data set; default KOA_DATA_DIR.")]
Runs = Annotated[Path, typer.Option(help="Folder of run folders.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")]
Change = Annotated[list[str] | None, typer.Option("--set", help="Another option as NAME=VALUE: --set epochs=12.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def print_json(content: object) -> None:
    """Print `content` as JSON; what JSON has no type for is printed as text."""
    typer.echo(json.dumps(content, indent=2, default=str))


def json_rows(table: pd.DataFrame) -> list[dict]:
    """Rows of a table in the types of JSON, a missing value as ``null``."""
    return json.loads(table.to_json(orient="records"))
