"""``koa data``: the data room from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koa_kit.commands.options import AsJson, DataDir, SkipRefused, json_rows, print_json, print_refused
from koa_kit.errors import KoaError

app = typer.Typer(no_args_is_help=True, help="What knees do I have, and can I trust them?")

Name = Annotated[str, typer.Argument(help="Data set, as `koa data list` names it.")]


@app.command("list")
def list_datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sets that the kit knows, and which of them are here.

    Example: koa data list
    """
    from koa_kit.data.manifest import load_manifest

    rows = []
    for entry in load_manifest().values():
        here = _here(entry, find_folder(entry.name, data_dir))
        rows.append({**entry.model_dump(include={"name", "access", "title"}), "images": entry.n_images, "here": here})
        if not as_json:
            count = f"{entry.n_images:,} images" if entry.n_images else ""
            typer.echo(f"{entry.name:<14}{entry.access:<11}{count:<15}{here}\n    {entry.title}")
    if as_json:
        print_json(rows)


@app.command("fetch")
def fetch_dataset(
    name: Name,
    data_dir: DataDir = None,
    archive: Annotated[Path | None, typer.Option(help="A zip downloaded by hand, or the folder it holds.")] = None,
    kaggle: Annotated[bool, typer.Option("--kaggle", help="Also try Kaggle (needs kagglehub and an account).")] = False,
    source: Annotated[list[str] | None, typer.Option(help="A URL to try instead of the known ones.")] = None,
    hours: Annotated[float, typer.Option(min=0, help="Stop downloads after this time; the next fetch goes on.")] = 24.0,
) -> None:
    """Download a data set, or take it from an archive; every file is checked by its sha256.

    Example: koa data fetch oai-kl224 --archive ~/Downloads/archive.zip
    """
    from koa_kit import data

    options = {"sources": source or None, "archive": archive, "kaggle": kaggle, "hours": hours}
    folder = data.fetch_dataset(name, data_dir=data_dir, **options)
    typer.echo(f"{name} is complete in {folder}")


@app.command("verify")
def verify_dataset(
    name: Name,
    data_dir: DataDir = None,
    require: Annotated[list[str] | None, typer.Option(help="A split that must be complete; repeat for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare every file with its published sha256; ends with 1 if any is altered or a required split is not complete.

    Example: koa data verify oai-kl224 --require train --require val
    """
    from koa_kit import data

    result = data.verify_dataset(name, data_dir=data_dir, require=require or (), progress=not as_json)
    frame = result.to_frame()
    if as_json:
        faults = {check.split: {"missing": check.missing, "altered": check.altered} for check in result.splits}
        print_json({"ok": result.ok, "splits": frame.reset_index().to_dict("records"), "files": faults})
    else:
        typer.echo(f"{name} in {result.folder}\n{frame.to_string()}")
        for check in result.splits:
            shown = [f"altered: {file}" for file in check.altered]
            shown += [f"missing: {file}" for file in check.missing if check.found]  # not of a split that is absent
            for line in shown[:20]:
                typer.echo(line)
            if len(shown) > 20:
                typer.echo(f"and {len(shown) - 20} more in {check.split}")
        typer.echo("OK" if result.ok else f"NOT OK: `koa data fetch {name}` fetches what is missing or altered.")
    if not result.ok:
        raise typer.Exit(1)


@app.command("audit")
def audit_dataset(
    name: Name,
    data_dir: DataDir = None,
    split: Annotated[list[str] | None, typer.Option(help="A split to read (default: all but test).")] = None,
    polarity: Annotated[str, typer.Option(help="'as it is' inverts no file that seems to show bone dark.")] = "auto",
    skip_refused: SkipRefused = False,
    as_json: AsJson = False,
) -> None:
    """Count grades, patients, sides, shared patients, duplicates and inverted images.

    Example: koa data audit oai-kl224
    """
    from koa_kit import data
    from koa_kit.data.splits import SEALED

    if SEALED in (split or ()) and (entry := data.load_manifest().get(name)) and entry.access != "generated":
        remedy = "It is for one final score: koa evaluate RUN --split test --final. `koa data verify` checks its files."
        raise KoaError(f"The test split of {name} is sealed.", remedy=remedy)
    options = {"splits": split or None, "skip_refused": skip_refused, "polarity": polarity, "progress": not as_json}
    cohort = data.load_cohort(name, data_dir=data_dir, **options)
    print_refused(cohort)
    result = data.audit_cohort(cohort)
    if not as_json:
        typer.echo(result.summary())
        return
    tables = {key: json_rows(frame.reset_index()) for key, frame in result.to_frames().items()}
    differs = list(result.differs_from_published)
    print_json({"name": name, "fingerprint": result.fingerprint, **tables, "differs_from_published": differs})


@app.command("show")
def show_dataset(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what the manifest says of a data set: licence, citation, sources, layout, counts, and where it lies.

    Example: koa data show oai-kl224
    """
    from koa_kit.data.manifest import load_manifest

    entry = load_manifest()[name]
    folder = find_folder(name, data_dir)
    if as_json:
        print_json({**entry.model_dump(), "folder": str(folder) if folder else None})
        return
    facts = {
        "title": entry.title,
        "access": entry.access,
        "licence": entry.licence,
        "citation": entry.citation + (f" doi:{entry.doi}" if entry.doi else ""),
        "layout": entry.layout,
        "here": _here(entry, folder),
        "notes": entry.notes,
    }
    facts |= {f"source {number}": str(source) for number, source in enumerate(entry.sources, 1)}
    facts |= {split: f"{sum(counts):,} images, KL0 to KL4: {counts}" for split, counts in entry.counts.items()}
    facts |= {f"left out: {part}": reason for part, reason in entry.excluded.items()}
    for key, fact in facts.items():
        typer.echo(f"{key}: {fact}")


def find_folder(name: str, data_dir: Path | None = None) -> Path | None:
    """Folder of a data set, ``None`` if it is not here or is generated."""
    from koa_kit.data.manifest import find_dataset

    try:
        return find_dataset(name, data_dir)
    except KoaError:
        return None


def _here(entry, folder: Path | None) -> str:
    return "drawn on demand" if entry.access == "generated" else str(folder or "not here")
