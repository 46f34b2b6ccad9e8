"""`koa train` and `koa evaluate`: thin over the library, which loads only when a command runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.errors import KoaError
from koa_kit.progress import Bar

DataDir = Annotated[Path | None, typer.Option(help="Folder with one subfolder a data set; default KOA_DATA_DIR.")]
Runs = Annotated[Path, typer.Option(help="Folder of run folders.")]
Change = Annotated[
    list[str] | None, typer.Option("--set", help="Another choice as NAME=VALUE, for example --set epochs=12.")
]


def train(
    name: Annotated[str, typer.Argument(help="Name of the run folder.")],
    dataset: Annotated[str | None, typer.Option(help="phantom, oai-kl224 or a folder; default phantom.")] = None,
    scale: Annotated[str | None, typer.Option(help="Start from the choices of smoke, laptop or full.")] = None,
    change: Change = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run left off.")] = False,
    save_minutes: Annotated[float, typer.Option(help="Keep the state so often within an epoch.")] = 5.0,
    processes: Annotated[int, typer.Option(help="Processes that share each batch: one a GPU.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")] = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train on the train split, keep the epoch with the best QWK on val, write runs/NAME.

    With --resume, the choices and the data set are those the run was begun with; naming others is an error.

    Example: koa train lite0 --dataset oai-kl224 --scale laptop --set regime=finetune --set epochs=12
    """
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(_launch(processes, device))
    from koa_kit.data import load_cohort, load_manifest
    from koa_kit.training import TrainConfig, fit
    from koa_kit.training.run import read_identity

    folder = runs / name
    begun = resume and (folder / "config.yaml").is_file()
    config = (
        TrainConfig.read(folder / "config.yaml") if begun and not scale else TrainConfig.for_scale(scale or "smoke")
    )
    if begun and not dataset:
        dataset = read_identity(folder).get("cohort")
        if dataset and dataset not in load_manifest():
            raise KoaError(
                "The run was begun on a folder of your own.", where=folder, remedy="Name it again with --dataset."
            )
    cohort = load_cohort(dataset or "phantom", data_dir=data_dir)
    config = config.with_text(change or [])
    main = os.environ.get("RANK", "0") == "0"
    if main:
        typer.echo(f"{cohort}\n{config}")
        if (count := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            typer.echo(f"{count} processes share each batch")
    with Bar("embedding") as bar:
        finished = fit(
            cohort,
            config,
            folder,
            device=device,
            resume=resume,
            save_minutes=save_minutes,
            on_epoch=_print_epoch,
            on_embedding=bar if main else None,
        )
    if main:
        _print_scores(finished.predictions, "val")
        typer.echo(f"Kept in {finished.folder}")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    split: Annotated[str, typer.Option(help="Split to score.")] = "val",
    dataset: Annotated[str | None, typer.Option(help="Default: the data set the run was trained on.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the test split; each opening is logged.")] = False,
    data_dir: DataDir = None,
    device: str | None = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Score a run on a split, with intervals by bootstrap over patients.

    The test split is opened only with --final, and every opening is written down in the run folder.

    Example: koa evaluate runs/lite0 --split val
    """
    from koa_kit.training.evaluation import evaluate_run

    with Bar("grading") as bar:
        table = evaluate_run(
            folder, split=split, dataset=dataset, final=final, data_dir=data_dir, device=device, progress=bar
        )
    typer.echo(table.to_json(orient="records", indent=2) if as_json else table.round(3).to_string(index=False))


def _launch(processes: int, device: str | None) -> int:
    """Start this very command in several processes, with every question of the launcher answered."""
    from koa_kit.engine.processes import choose_device

    if choose_device(device) != "cpu":
        import torch

        if processes > torch.cuda.device_count():
            raise KoaError(
                f"There are {torch.cuda.device_count()} GPUs for {processes} processes.",
                remedy="Give --processes at most that number, or --device cpu.",
            )
    # "multi_gpu" is accelerate's name for torch's own launcher, which starts processes on CPUs just as well; its
    # launcher for CPUs wants mpirun
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"),
        *("--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", _free_port()),
        *("--module", "koa_kit.cli", *sys.argv[1:]),
    ]
    return subprocess.run(command, check=False).returncode


def _free_port() -> str:
    """A port of this machine that no other run listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return str(listener.getsockname()[1])


def _print_epoch(row: dict) -> None:
    speed = ""
    if row["images_per_second"] == row["images_per_second"]:  # not nan: features that are cached have no speed
        speed = f"  {row['images_per_second']:.0f} images/s, {row['peak_fraction']:.1%} of peak"
    typer.echo(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.3f}  val accuracy {row['val_accuracy']:.1%}  "
        f"QWK {row['val_qwk']:.3f}  KL1 recall {row['val_kl1_recall']:.2f}  {row['seconds']:.1f} s, "
        f"{row['data_share']:.1%} on data{speed}"
    )


def _print_scores(predictions, split: str) -> None:
    from koa_kit.error_analysis.statistics.intervals import intervals

    typer.echo(f"On {split} (95 % bootstrap over patients):")
    typer.echo(intervals(predictions).round(3).to_string(index=False))
