"""`koa ablate`: a grid of methods by seeds from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.options import AsJson, Change, DataDir, Device, Runs, print_json
from koa_kit.errors import KoaError


def ablate(
    name: Annotated[str | None, typer.Argument(help="Name of the grid's folder; default the preset's.")] = None,
    preset: Annotated[str | None, typer.Option(help="A grid by name, such as sides-cpu or headline-cpu.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="phantom, oai-kl224 or a folder; default the preset's, else phantom.")
    ] = None,
    scale: Annotated[str, typer.Option(help="Start from the options of smoke, laptop or full.")] = "smoke",
    change: Change = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; repeat for several. Default: all.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row of the preset; repeat for several.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs per row, with seeds 0, 1, 2, …; default the preset's, else 3.")
    ] = None,
    publish: Annotated[
        Path | None, typer.Option(help="Folder for the table and all predictions; its cells are not repeated.")
    ] = None,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine), dask or ray.")] = "loky",
    jobs: Annotated[int | None, typer.Option(help="Cells at a time; default 1, or what the Ray cluster has.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads per cell; default cores divided by jobs.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler or Ray cluster; default one on this machine.")
    ] = None,
    device: Device = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Train every method with every seed, write runs/NAME/METHOD/seed-N and the table runs/NAME/cells.csv.

    Call it again to go on: finished cells are not repeated, one that was stopped goes on, one that failed is tried
    again. A failed cell does not stop the rest; its failure.txt says why, and the command ends with code 1.

    On a cluster all machines must see the runs folder and the data under the same path, and have koa_kit installed.
    With several GPUs, start one Dask worker per GPU: CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1.

    With --preset the rows, what they share and the number of seeds have been chosen; --set changes what they share.
    With --publish each finished cell goes into a table with the predictions of all knees, without weights or pixels.

    Example: koa ablate losses --dataset oai-kl224 --scale laptop --method plain --method symmetry --jobs 2
    Example: koa ablate --preset headline-cpu
    """
    from koa_kit.comparison.grid import run_grid
    from koa_kit.comparison.tables import summary

    cells, name, dataset = _cells(name, preset, dataset, scale, change, method, row, seeds)
    if publish:
        from koa_kit.comparison.publish import unpublished

        wanted = len(cells)
        cells = unpublished(cells, publish)
        typer.echo(f"{wanted - len(cells)} of {wanted} cells are published in {publish} already", err=True)
        if not cells:
            return
    publish_cell = _publisher(cells, runs / name, publish, dataset, data_dir)
    width = max(len(cell.name) for cell in cells)

    def on_cell(row: dict) -> None:
        if not as_json:
            typer.echo(_line(row, width))
        publish_cell(row)

    options = {"backend": backend, "jobs": jobs, "threads": threads, "scheduler": scheduler, "device": device}
    table = run_grid(cells, runs / name, dataset=dataset, data_dir=data_dir, on_cell=on_cell, **options)
    means = summary(table)
    if as_json:
        parts = {"cells": table, "summary": means}
        print_json({key: json.loads(part.to_json(orient="records")) for key, part in parts.items()})
    else:
        typer.echo("\nOn val, mean ± standard deviation over seeds:")
        typer.echo(_readable(means).to_string(index=False))
        typer.echo(f"Kept in {runs / name / 'cells.csv'}")
        if preset:
            _print_reproduced(table, preset)
    if (table["status"] == "failed").any():
        raise typer.Exit(1)


def _cells(name, preset, dataset, scale, change, method, row, seeds):
    """Cells of the grid that was asked for, the name of its folder and its data set."""
    from koa_kit.comparison.grid import grid
    from koa_kit.comparison.presets import preset as preset_of
    from koa_kit.training.config import METHODS, TrainConfig

    if preset is None:
        if name is None or row:
            raise KoaError(
                "The grid has no name." if name is None else "Rows have names only in a preset.",
                remedy="Give one, as in koa ablate losses, or a preset, as in koa ablate --preset sides-cpu.",
            )
        config = TrainConfig.for_scale(scale).with_text(change or [])
        return grid(config, method or tuple(METHODS), range(seeds or 3)), name, dataset or "phantom"
    if method:
        raise KoaError("A preset names its own methods.", where=f"--method {method[0]}", remedy="Choose rows: --row.")
    chosen = preset_of(preset)
    if unknown := sorted(set(row or ()) - set(chosen.rows)):
        raise KoaError(f"There is no row {unknown[0]!r}.", remedy=f"Choose from {', '.join(chosen.rows)}.")
    cells = [cell for cell in chosen.cells(change, seeds) if not row or cell.row in row]
    return cells, name or preset, dataset or chosen.dataset


def _publisher(cells, folder, target, dataset, data_dir):
    """Function that publishes a finished cell, or does nothing without a `target`."""
    if target is None:
        return lambda row: None
    import pandas as pd

    from koa_kit.comparison.publish import publish
    from koa_kit.data import load_cohort

    cohort = load_cohort(dataset, data_dir=data_dir)

    def publish_cell(row: dict) -> None:
        if row["status"] != "failed":
            publish([cell for cell in cells if cell.name == row["cell"]], pd.DataFrame([row]), folder, target, cohort)

    return publish_cell


def _print_reproduced(table, preset: str) -> None:
    """Print the scores of published rows that a preset trained again, with the published intervals."""
    from koa_kit.comparison.presets import preset as preset_of
    from koa_kit.comparison.source import reproduced

    for score in reproduced(table, preset_of(preset)).itertuples():
        typer.echo(
            f"{score.row}, {score.metric.replace('_', ' ')}: {score.value:.3f}; published {score.published:.3f} "
            f"({score.low:.3f} to {score.high:.3f}): {'inside' if score.inside else 'outside'}"
        )


def _line(row: dict, width: int) -> str:
    start = f"{row['cell']:{width}}  {row['status']:8}  "
    if row["status"] == "failed":
        return start + row["message"]
    return start + (
        f"accuracy {row['accuracy']:.1%}  QWK {row['qwk']:.3f}  KL1 recall {row['kl1_recall']:.2f}  "
        f"best epoch {row['best_epoch']:.0f}  {row['seconds']:.1f} s"
    )


def _readable(means):
    """Summary with one text column per metric, such as "0.712 ± 0.013"."""
    from koa_kit.comparison.tables import MAIN_METRICS

    texts = means[["method", "seeds", "failed"]].copy()
    for metric in MAIN_METRICS:
        pairs = zip(means[metric], means[f"{metric}_sd"], strict=True)
        texts[metric.replace("_", " ")] = [
            "-" if mean != mean else f"{mean:.3f}" if sd != sd else f"{mean:.3f} ± {sd:.3f}" for mean, sd in pairs
        ]
    return texts
