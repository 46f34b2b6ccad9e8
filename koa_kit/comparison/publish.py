"""A grid as a table others can check: what every cell said of every knee, without weights and without pixels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.published import PREDICTIONS, cell_tables, compact
from koa_kit.comparison.tables import TABLE, as_table, cell_row, grid_table, with_later_choices
from koa_kit.comparison.trial import Cell
from koa_kit.data.splits import DEVELOPMENT, set_aside
from koa_kit.errors import KoaError
from koa_kit.paths import replacing
from koa_kit.training.run import load_run
from koa_kit.training.stability import augmentation_stability

STABILITY = ("augmentation_variance", "augmentation_disagreement")


def publish(cells: list[Cell], table: pd.DataFrame, folder: str | Path, target: str | Path, cohort: Cohort) -> None:
    """Put the finished cells of a grid into `target`: ``cells.csv`` and ``predictions.parquet``.

    Cells that are there already and not among these stay, so that a grid may grow over days and machines; one that is
    there is replaced.

    Parameters
    ----------
    cells
        Of the grid.
    table
        From `run_grid`.
    folder
        Where their run folders lie.
    target
        Folder of the published table.
    cohort
        The knees they were trained on, to measure how steady each model is.

    Raises
    ------
    KoaError
        If no cell is finished, or the published table is of other knees.
    """
    finished = [cell for cell in cells if cell.name in set(table.loc[table["status"] != "failed", "cell"])]
    if not finished:
        raise KoaError("No cell of the grid is finished: there is nothing to publish.", where=folder)
    facts = table.set_index("cell")
    rows, predictions = [], []
    for cell in finished:
        run = load_run(Path(folder) / cell.name, device="cpu")
        val = set_aside(cohort, cell.config.development).split("val")
        steady = augmentation_stability(run.model, val)
        rows.append(cell_row(cell, facts.loc[cell.name].to_dict() | {"cell": cell.name}) | steady)
        tables = [run.predictions]
        if cell.config.development:
            tables.append(pd.read_parquet(run.folder / f"{DEVELOPMENT}-predictions.parquet"))
        predictions.append(compact(pd.concat(tables), cell=cell.name, row=cell.row, seed=cell.config.seed))
    _merge(Path(target), pd.DataFrame(rows), pd.concat(predictions))


def unpublished(cells: list[Cell], target: str | Path) -> list[Cell]:
    """Those of the cells that `target` does not hold with exactly these choices."""
    if not (Path(target) / TABLE).is_file():
        return cells
    there = grid_table(target).set_index("cell")
    wanted = as_table([cell_row(cell, {}) for cell in cells]).set_index("cell")
    choices = list(cell_row(cells[0], {}))
    choices = [name for name in choices if name not in ("cell", "variation", "message")]
    same = {
        name
        for name in wanted.index.intersection(there.index)
        if wanted.loc[name, choices].astype(str).eq(there.loc[name, choices].astype(str)).all()
    }
    return [cell for cell in cells if cell.name not in same]


def _merge(target: Path, rows: pd.DataFrame, predictions: pd.DataFrame) -> None:
    columns = [*as_table(rows).columns, *STABILITY]
    rows = as_table(rows).assign(**{name: rows[name].to_numpy() for name in STABILITY})
    if (target / TABLE).is_file():
        earlier = with_later_choices(pd.read_csv(target / TABLE))
        if set(earlier["cohort_fingerprint"]) != set(rows["cohort_fingerprint"]):
            raise KoaError(
                "The published table is of other knees.", where=target, remedy="Publish into another folder."
            )
        kept = earlier[~earlier["cell"].isin(rows["cell"])]
        rows = pd.concat([kept, rows]) if len(kept) else rows
        told = pd.read_parquet(target / PREDICTIONS)
        told = told[told["cell"].astype(str).isin(kept["cell"])]
        predictions = pd.concat([cell_tables(told), predictions]) if len(told) else predictions
    with replacing(target / PREDICTIONS) as path:
        cell_tables(predictions).to_parquet(path, index=False, compression="zstd")
    with replacing(target / TABLE) as path:
        rows[columns].sort_values("cell", kind="stable").to_csv(path, index=False)
