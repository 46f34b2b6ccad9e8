"""`koa train` and `koa evaluate`: thin over the library, which loads only when a command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.options import AsJson, Change, DataDir, Device, Runs
from koa_kit.errors import KoaError
from koa_kit.progress import Bar


def train(
    name: Annotated[str, typer.Argument(help="Name of the run folder.")],
    dataset: Annotated[str | None, typer.Option(help="phantom, oai-kl224 or a folder; default phantom.")] = None,
    scale: Annotated[str | None, typer.Option(help="Start from the options of smoke, laptop or full.")] = None,
    change: Change = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run left off.")] = False,
    save_minutes: Annotated[float, typer.Option(help="Minutes between saved states within an epoch.")] = 5.0,
    processes: Annotated[int, typer.Option(help="Processes that share each batch: one per GPU.")] = 1,
    device: Device = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train on the train split, keep the epoch with the best QWK on val, write runs/NAME.

    With --resume, the options and the data set are those the run was begun with; naming others is an error.

    Example: koa train lite0 --dataset oai-kl224 --scale laptop --set regime=finetune --set epochs=12
    """
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(_launch(processes, device))
    from koa_kit.data import load_cohort, load_manifest
    from koa_kit.engine.resume import read_identity
    from koa_kit.error_analysis.statistics.intervals import metric_intervals
    from koa_kit.training import TrainConfig, fit

    folder = runs / name
    begun = resume and (folder / "config.yaml").is_file()
    kept = begun and not scale
    config = TrainConfig.read(folder / "config.yaml") if kept else TrainConfig.for_scale(scale or "smoke")
    if begun and not dataset:
        dataset = read_identity(folder).get("cohort")
        if dataset and dataset not in load_manifest():
            what, remedy = "The run was begun on a folder of your own.", "Name it again with --dataset."
            raise KoaError(what, where=folder, remedy=remedy)
    cohort = load_cohort(dataset or "phantom", data_dir=data_dir)
    config = config.with_text(change or [])
    main = os.environ.get("RANK", "0") == "0"
    if main:
        typer.echo(f"{cohort}\n{config}")
        if (count := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            typer.echo(f"{count} processes share each batch")
    with Bar("embedding") as bar:
        options = {"device": device, "resume": resume, "save_minutes": save_minutes, "on_epoch": _print_epoch}
        finished = fit(cohort, config, folder, on_embedding=bar if main else None, **options)
    if main:
        typer.echo("On val (95 % bootstrap over patients):")
        typer.echo(metric_intervals(finished.predictions).round(3).to_string(index=False))
        typer.echo(f"Kept in {finished.folder}")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    split: Annotated[str, typer.Option(help="Split to score.")] = "val",
    dataset: Annotated[str | None, typer.Option(help="Default: the data set the run was trained on.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the test split; each opening is logged.")] = False,
    data_dir: DataDir = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Score a run on a split, with intervals by bootstrap over patients.

    The test split is opened only with --final, and every opening is written down in the run folder.

    Example: koa evaluate runs/lite0 --split val
    """
    from koa_kit.training.evaluation import evaluate_run

    with Bar("grading") as bar:
        options = {"dataset": dataset, "final": final, "data_dir": data_dir, "device": device}
        table = evaluate_run(folder, split=split, progress=bar, **options)
    typer.echo(table.to_json(orient="records", indent=2) if as_json else table.round(3).to_string(index=False))


def _launch(processes: int, device: str | None) -> int:
    """Exit status of this command run in several processes by accelerate's launcher."""
    from koa_kit.engine.processes import choose_device

    if choose_device(device) != "cpu":
        import torch

        if processes > torch.cuda.device_count():
            raise KoaError(
                f"There are {torch.cuda.device_count()} GPUs for {processes} processes.",
                remedy="Give --processes at most that number, or --device cpu.",
            )
    # "multi_gpu" is accelerate's name for torch's own launcher, which starts processes on CPUs just as well; its
    # launcher for CPUs wants mpirun. Port 0 is one that no other run listens on.
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"),
        *("--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *("--module", "koa_kit.cli", *sys.argv[1:]),
    ]
    return subprocess.run(command, check=False).returncode


def _print_epoch(row: dict) -> None:
    # nan for cached features, which have no speed
    speed = f"  {row['images_per_second']:.0f} images/s" if row["images_per_second"] > 0 else ""
    typer.echo(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.3f}  val accuracy {row['val_accuracy']:.1%}  "
        f"QWK {row['val_qwk']:.3f}  KL1 recall {row['val_kl1_recall']:.2f}  {row['seconds']:.1f} s, "
        f"{row['data_share']:.1%} on data{speed}"
    )
