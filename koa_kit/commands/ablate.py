"""`koa ablate`: a grid of methods by seeds from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def ablate(
    name: Annotated[str, typer.Argument(help="Name of the folder of the grid; one run folder a cell lies in it.")],
    dataset: Annotated[str, typer.Option(help="phantom, oai-kl224 or a folder of your own.")] = "phantom",
    scale: Annotated[str, typer.Option(help="Start from the choices of smoke, laptop or full.")] = "smoke",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Another choice as NAME=VALUE, for example --set epochs=12.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; repeat for several. Default: all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs a method, with seeds 0, 1, 2, …")] = 3,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine), dask or ray.")] = "loky",
    jobs: Annotated[int | None, typer.Option(help="Cells at a time; default 1, or what the Ray cluster has.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads a cell; default the cores divided by the jobs.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler or Ray cluster; default one on this machine.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with one subfolder a data set; default KOA_DATA_DIR.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Train every method with every seed, write runs/NAME/METHOD/seed-N and the table runs/NAME/cells.csv.

    Call it again to go on: finished cells are not repeated, one that was stopped goes on, one that failed is tried
    again. A failed cell does not stop the rest; its failure.txt says why, and the command ends with code 1.

    On a cluster all machines must see the runs folder and the data under the same path, and have koa_kit installed.
    With several GPUs, start one Dask worker a GPU: CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1.

    Example: koa ablate losses --dataset oai-kl224 --scale laptop --method plain --method symmetry --jobs 2
    """
    from koa_kit.training.ablation import grid, run_grid
    from koa_kit.training.config import METHODS, TrainConfig
    from koa_kit.training.grid_tables import summary

    config = TrainConfig.for_scale(scale).with_text(change or [])
    cells = grid(config, method or tuple(METHODS), range(seeds))
    width = max(len(cell.name) for cell in cells)
    table = run_grid(
        cells,
        runs / name,
        dataset=dataset,
        data_dir=data_dir,
        backend=backend,
        jobs=jobs,
        threads=threads,
        scheduler=scheduler,
        device=device,
        on_cell=None if as_json else lambda row: typer.echo(_line(row, width)),
    )
    means = summary(table)
    if as_json:
        parts = {"cells": table, "summary": means}
        told = {key: json.loads(part.to_json(orient="records")) for key, part in parts.items()}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo("\nOn val, mean ± standard deviation over seeds:")
        typer.echo(_readable(means).to_string(index=False))
        typer.echo(f"Kept in {runs / name / 'cells.csv'}")
    if (table["status"] == "failed").any():
        raise typer.Exit(1)


def _line(row: dict, width: int) -> str:
    start = f"{row['cell']:{width}}  {row['status']:8}  "
    if row["status"] == "failed":
        return start + row["message"]
    return start + (
        f"accuracy {row['accuracy']:.1%}  QWK {row['qwk']:.3f}  KL1 recall {row['kl1_recall']:.2f}  "
        f"best epoch {row['best_epoch']:.0f}  {row['seconds']:.1f} s"
    )


def _readable(means):
    """Summary with one text column a metric, such as "0.712 ± 0.013"."""
    from koa_kit.training.grid_tables import MAIN_METRICS

    told = means[["method", "seeds", "failed"]].copy()
    for metric in MAIN_METRICS:
        pairs = zip(means[metric], means[f"{metric}_sd"], strict=True)
        told[metric.replace("_", " ")] = [
            "-" if mean != mean else f"{mean:.3f}" if sd != sd else f"{mean:.3f} ± {sd:.3f}" for mean, sd in pairs
        ]
    return told
