"""`koa train` and `koa evaluate`: thin over the library, which loads only when a command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.options import AsJson, Change, DataDir, Device, Runs, SkipRefused, print_refused, refuse_unused
from koa_kit.errors import KoaError
from koa_kit.paths import below
from koa_kit.progress import Bar


def train(
    name: Annotated[str, typer.Argument(help="Name of the run folder.")],
    dataset: Annotated[str | None, typer.Option(help="phantom, oai-kl224 or a folder; default phantom.")] = None,
    scale: Annotated[str | None, typer.Option(help="Start from the options of smoke, laptop or full.")] = None,
    change: Change = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run left off.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run of this name when finished.")] = False,
    save_minutes: Annotated[float, typer.Option(min=0, help="Minutes between saved states within an epoch.")] = 5.0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share each batch: one per GPU.")] = 1,
    skip_refused: SkipRefused = False,
    device: Device = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train on the train split, keep the epoch with the best QWK on val, write runs/NAME.

    With --resume, the options and the data set are those the run was begun with; naming others is an error. A run that
    lies there is never touched without --resume or --overwrite.

    Example: koa train lite0 --dataset oai-kl224 --scale laptop --set regime=finetune --set epochs=12
    """
    folder = below(runs, name)
    if not save_minutes >= 0:
        raise KoaError("The minutes between saved states are no number.", where=f"--save-minutes {save_minutes}")
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(_launch(processes, device))
    from koa_kit.data import load_cohort, load_manifest
    from koa_kit.engine.identity import read_identity
    from koa_kit.engine.processes import choose_device
    from koa_kit.engine.run_folder import can_go_on, check_free, under_way
    from koa_kit.error_analysis.statistics.intervals import metric_intervals
    from koa_kit.training import TrainConfig, fit

    there = under_way(folder)
    begun = resume and can_go_on(there)
    kept = begun and scale is None
    config = (
        TrainConfig.read(there / "config.yaml") if kept else TrainConfig.for_scale("smoke" if scale is None else scale)
    )
    config = config.with_text(change or [])
    if not begun:
        refuse_unused([config], change)
        check_free(folder, overwrite)
    choose_device(device)
    if begun and not dataset:
        dataset = read_identity(there).get("cohort")
        if dataset and dataset not in load_manifest():
            what, remedy = "The run was begun on a folder of your own.", "Name it again with --dataset."
            raise KoaError(what, where=folder, remedy=remedy)
    cohort = load_cohort(dataset or "phantom", data_dir=data_dir, skip_refused=skip_refused)
    main = os.environ.get("RANK", "0") == "0"
    if main:
        print_refused(cohort)
        typer.echo(f"{cohort}\n{config}")
        if (count := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            typer.echo(f"{count} processes share each batch")
    with Bar("embedding") as bar:
        options = {"device": device, "resume": resume, "overwrite": overwrite, "save_minutes": save_minutes}
        finished = fit(cohort, config, folder, on_epoch=_print_epoch, on_embedding=bar if main else None, **options)
    if main:
        typer.echo("On val (95 % bootstrap over patients):")
        typer.echo(metric_intervals(finished.predictions).round(3).to_string(index=False))
        typer.echo(f"Kept in {finished.folder}")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    split: Annotated[str, typer.Option(help="Split to score.")] = "val",
    dataset: Annotated[str | None, typer.Option(help="Default: the data set the run was trained on.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the test split; each opening is logged.")] = False,
    skip_refused: SkipRefused = False,
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
        options: dict = {"dataset": dataset, "final": final, "data_dir": data_dir, "device": device}
        table = evaluate_run(folder, split=split, skip_refused=skip_refused, progress=bar, **options)
    typer.echo(table.to_json(orient="records", indent=2) if as_json else table.round(3).to_string(index=False))


def export(folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]) -> None:
    """Write a run's model as a graph that onnxruntime computes, without torch: model.onnx.

    It is compared with the model before it stays.

    Example: koa export runs/lite0
    """
    from koa_kit.model.export import export_graph

    typer.echo(f"Kept in {export_graph(folder)}")


def _launch(processes: int, device: str | None) -> int:
    """Exit status of this command run in several processes by accelerate's launcher."""
    from koa_kit.engine.processes import choose_device

    if (device or choose_device()) != "cpu":
        import torch

        if processes > torch.cuda.device_count():
            raise KoaError(
                f"There are {torch.cuda.device_count()} GPUs for {processes} processes.",
                remedy="Give --processes at most that number, or --device cpu.",
            )
    elif processes > (most := max(2, os.cpu_count() or 1)):
        raise KoaError(
            f"{processes} processes would wait for one another.", remedy=f"This machine has cores for {most}."
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
