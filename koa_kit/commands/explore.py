"""`koa explore`: thin over the page it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explore(
    run: Annotated[
        str | None, typer.Argument(help="Run folder or predictions.parquet; default the model that comes with the kit.")
    ] = None,
    split: Annotated[str, typer.Option(help="val, or development where patients were set aside.")] = "val",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data sets; default KOA_DATA_DIR.")] = None,
    log: Annotated[Path | None, typer.Option(help="File of readers' verdicts; default beside the run.")] = None,
    beside: Annotated[Path | None, typer.Option(help="Another run of the same knees to compare with.")] = None,
    port: int = 8866,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open the workbench of a run in a browser, until Ctrl-C.

    It needs no radiographs: everything but the pictures works without them.

    Example: koa explore runs/lite0 --log verdicts.jsonl
    """
    from koa_kit.workbench.serve import serve

    status = serve(run, split=split, data_dir=data_dir, log=log, beside=beside, port=port, browser=browser)
    if status:
        raise typer.Exit(status)
