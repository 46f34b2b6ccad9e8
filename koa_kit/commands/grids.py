"""`koa ablate`: a grid of methods by seeds from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.options import AsJson, Change, DataDir, Device, Runs, json_rows, print_json, refuse_unused
from koa_kit.errors import KoaError
from koa_kit.paths import below


def ablate(
    name: Annotated[str | None, typer.Argument(help="Folder of the grid in the runs; default the preset's.")] = None,
    preset: Annotated[str | None, typer.Option(help="A grid by name, such as sides-cpu or headline-cpu.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name or folder; default the preset's, else phantom.")] = None,
    scale: Annotated[str, typer.Option(help="Start from the options of smoke, laptop or full.")] = "smoke",
    change: Change = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; repeat for several. Default: all.")] = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", "--row", help="Only this arm of a preset; repeat.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="Runs per arm; default 3 or the preset's.")] = None,
    publish: Annotated[Path | None, typer.Option(help="Folder for the table and all predictions.")] = None,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine) or dask.")] = "loky",
    jobs: Annotated[int | None, typer.Option(help="Trials at a time; default 1.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads per trial; default the cores over the jobs.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler's address; default a new one here.")] = None,
    device: Device = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Train every method with every seed, write runs/NAME/METHOD/seed-N and the table runs/NAME/cells.csv.

    Call it again to go on: finished trials are not repeated, one that was stopped goes on, one that failed is tried
    again. A failed trial does not stop the rest; its failure.txt says why, and the command ends with code 1.

    On a cluster all machines must see the runs folder and the data under the same path, and have koa_kit installed.
    With several GPUs, start one Dask worker per GPU: CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1.

    With --preset the arms, what they share and the number of seeds have been chosen; --set changes what they share.
    With --publish each finished trial goes into a table with the predictions of all knees, without weights or pixels;
    trials that are in it are not repeated. The seeds of an arm's runs are 0, 1, 2, …

    Example: koa ablate losses --dataset oai-kl224 --scale laptop --method plain --method symmetry --jobs 2
    Example: koa ablate --preset headline-cpu
    """
    import pandas as pd

    from koa_kit.comparison.grid import run_grid
    from koa_kit.comparison.published import publish_trials, unpublished
    from koa_kit.comparison.tables import summary, summary_texts
    from koa_kit.data import load_cohort

    trials, chosen = _trials(name, preset, scale, change, method, arm, seeds)
    folder, dataset = (
        below(runs, name if name is not None else preset or ""),
        dataset or (chosen.dataset if chosen else "phantom"),
    )
    if publish:
        wanted = len(trials)
        trials = unpublished(trials, publish)
        typer.echo(f"{wanted - len(trials)} of {wanted} trials are published in {publish} already", err=True)
        if not trials:
            return
        cohort = load_cohort(dataset, data_dir=data_dir)
    width = max(len(trial.name) for trial in trials)

    def ended(row: dict) -> None:
        if not as_json:
            typer.echo(_line(row, width))
        if publish and row["status"] != "failed":
            publish_trials(trials, pd.DataFrame([row]), folder, publish, cohort)

    where: dict = {"backend": backend, "jobs": jobs, "threads": threads, "scheduler": scheduler, "device": device}
    table = run_grid(trials, folder, dataset=dataset, data_dir=data_dir, on_trial=ended, **where)
    means = summary(table)
    if as_json:
        print_json({"cells": json_rows(table), "summary": json_rows(means)})
    else:
        typer.echo("\nOn val, mean ± standard deviation over seeds:")
        typer.echo(summary_texts(means).to_string(index=False))
        typer.echo(f"Kept in {folder / 'cells.csv'}")
        if chosen:
            _print_reproduction(table, chosen)
    if (table["status"] == "failed").any():
        raise typer.Exit(1)


def _trials(name, preset, scale, change, method, arm, seeds):
    """Trials of the grid that was asked for, and its preset if it has one."""
    from koa_kit.comparison.grid import method_grid
    from koa_kit.comparison.presets import preset as preset_of
    from koa_kit.training.config import METHODS, TrainConfig

    if preset is None:
        if name is None or arm:
            raise KoaError(
                "The grid has no name." if name is None else "Arms have names only in a preset.",
                remedy="Give one, as in koa ablate losses, or a preset, as in koa ablate --preset sides-cpu.",
            )
        config = TrainConfig.for_scale(scale).with_text(change or [])
        trials = method_grid(config, method or tuple(METHODS), range(seeds or 3))
        refuse_unused([trial.config for trial in trials], change)
        return trials, None
    if method:
        raise KoaError("A preset names its own methods.", where=f"--method {method[0]}", remedy="Choose arms: --arm.")
    chosen = preset_of(preset)
    if unknown := sorted(set(arm or ()) - set(chosen.arms)):
        raise KoaError(f"There is no arm {unknown[0]!r}.", remedy=f"Choose from {', '.join(chosen.arms)}.")
    trials = [trial for trial in chosen.trials(change, seeds) if not arm or trial.arm in arm]
    refuse_unused([trial.config for trial in trials], change)
    return trials, chosen


def _print_reproduction(table, chosen) -> None:
    from koa_kit.comparison.source import reproduction_table
    from koa_kit.comparison.tables import interval_text

    for row in reproduction_table(table, chosen).to_dict("records"):
        metric, where = row["metric"].replace("_", " "), "inside" if row["inside"] else "outside"
        typer.echo(f"{row['arm']}, {metric}: {row['new']:.3f}; published {interval_text(row)}: {where}")


def _line(row: dict, width: int) -> str:
    start = f"{row['cell']:{width}}  {row['status']:8}  "
    if row["status"] == "failed":
        return start + row["message"]
    return start + (
        f"accuracy {row['accuracy']:.1%}  QWK {row['qwk']:.3f}  KL1 recall {row['kl1_recall']:.2f}  "
        f"best epoch {row['best_epoch']:.0f}  {row['seconds']:.1f} s"
    )
