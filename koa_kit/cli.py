"""The `koa` command: thin over the library, and the place where a `KoaError` becomes a message."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.data.commands import app as data_app
from koa_kit.errors import KoaError

app = typer.Typer(
    help="Grade knee osteoarthritis with words: notebooks, data, training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

DataDir = Annotated[Path | None, typer.Option(help="Folder with one subfolder a data set; default KOA_DATA_DIR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say for each requirement that it is met, or what to do.

    Example: koa doctor
    """
    from dataclasses import asdict

    from koa_kit.doctor import check

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
    from koa_kit.series import out_dir_for, run_series

    out = out or out_dir_for(dataset, scale)
    run_series(notebooks, dataset=dataset, scale=scale, seed=seed, data_dir=data_dir, out_dir=out, jobs=jobs)
    typer.echo(f"Open {out / 'index.html'}")


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Name of the run folder.")],
    dataset: Annotated[str, typer.Option(help="phantom, oai-kl224 or a folder of your own.")] = "phantom",
    scale: Annotated[str, typer.Option(help="Start from the choices of smoke, laptop or full.")] = "smoke",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Another choice as NAME=VALUE, for example --set epochs=12.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")] = None,
    data_dir: DataDir = None,
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
) -> None:
    """Train on the train split, keep the epoch with the best QWK on val, write runs/NAME.

    Example: koa train lite0 --dataset oai-kl224 --scale laptop --set regime=finetune --set epochs=12
    """
    from koa_kit.data import load_cohort
    from koa_kit.training import TrainConfig, fit

    config = TrainConfig.for_scale(scale).with_text(change or [])
    cohort = load_cohort(dataset, data_dir=data_dir)
    typer.echo(f"{cohort}\n{config}")
    with _Bar("embedding") as bar:
        finished = fit(cohort, config, runs / name, device=device, on_epoch=_print_epoch, on_embedding=bar)
    _print_scores(finished.predictions, "val")
    typer.echo(f"Kept in {finished.folder}")


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    split: Annotated[str, typer.Option(help="Split to score.")] = "val",
    dataset: Annotated[str | None, typer.Option(help="Default: the data set the run was trained on.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the test split; each opening is logged.")] = False,
    data_dir: DataDir = None,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Score a run on a split, with intervals by bootstrap over patients.

    The test split is opened only with --final, and every opening is written down in the run folder.

    Example: koa evaluate runs/lite0 --split val
    """
    from koa_kit.training.evaluation import evaluate_run

    with _Bar("grading") as bar:
        table = evaluate_run(
            folder, split=split, dataset=dataset, final=final, data_dir=data_dir, device=device, progress=bar
        )
    typer.echo(table.to_json(orient="records", indent=2) if as_json else table.round(3).to_string(index=False))


@data_app.command("realism")
def data_realism(
    dataset: Annotated[str, typer.Option(help="Real knees to compare with.")] = "oai-kl224",
    knees: Annotated[int, typer.Option(help="Knees of either kind.")] = 1000,
    towers: Annotated[str, typer.Option(help="Whose features the classifier sees.")] = "lite0-minilm",
    seed: int = 0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure how near phantom radiographs come to real ones, and how well a linear classifier tells them apart.

    Real knees are of the train split, phantoms have the same shares of grades. "halves" is the mean distance of two
    random halves of the real patients: the yardstick.

    Example: koa data realism --dataset oai-kl224
    """
    from koa_kit.training.realism import compare_with_real

    with _Bar("computing features") as bar:
        table, auc = compare_with_real(dataset, knees=knees, towers=towers, seed=seed, data_dir=data_dir, progress=bar)
    if as_json:
        measures = json.loads(table.reset_index(names="measure").to_json(orient="records"))
        typer.echo(json.dumps({"measures": measures, "phantom_or_real_auc": auc}, indent=2))
    else:
        typer.echo(table.round(4).to_string())
        typer.echo(f"phantom or real, linear classifier on {towers}: AUC {auc:.3f} (0.5 cannot tell, 1 always can)")


class _Bar:
    """Progress bar that appears at the first report; on a terminal only, so that logs stay readable."""

    def __init__(self, what: str):
        from rich.progress import Progress

        self.what, self.progress, self.task = what, Progress(disable=not sys.stderr.isatty()), None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.progress.start()
            self.task = self.progress.add_task(self.what, total=total)
        self.progress.update(self.task, completed=done, total=total)
        if done >= total:
            self.progress.stop()

    def __exit__(self, *_):
        self.progress.stop()


def _print_epoch(row: dict) -> None:
    typer.echo(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.3f}  val accuracy {row['val_accuracy']:.1%}  "
        f"QWK {row['val_qwk']:.3f}  KL1 recall {row['val_kl1_recall']:.2f}  {row['seconds']:.1f} s"
    )


def _print_scores(predictions, split: str) -> None:
    from koa_kit.error_analysis.intervals import intervals

    typer.echo(f"On {split} (95 % bootstrap over patients):")
    typer.echo(intervals(predictions).round(3).to_string(index=False))


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
