"""Where a comparison of rows comes from: the published table of real knees, or a small grid trained on the spot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.presets import Preset
from koa_kit.comparison.presets import preset as preset_of
from koa_kit.comparison.published import FLIP_AVERAGED, PREDICTIONS, read_rows
from koa_kit.comparison.tables import TABLE
from koa_kit.data.splits import DEVELOPMENT
from koa_kit.error_analysis.ceiling import CEILING_METRICS, consensus_posterior
from koa_kit.error_analysis.decisions.decide import decided
from koa_kit.error_analysis.decisions.rules import EXPECTED
from koa_kit.error_analysis.statistics.seeds import ROW_METRICS, seed_intervals
from koa_kit.errors import KoaError
from koa_kit.paths import resource
from koa_kit.phantom.readers.ceiling import ceiling

REAL_KNEES = "oai-kl224"
ROUNDED = " + rounding"
Rows = dict[str, dict[int, pd.DataFrame]]


@dataclass(frozen=True)
class GridSource:
    """Rows of a grid, ready to be compared, and where they come from.

    Attributes
    ----------
    source
        One sentence: which cells, on which knees.
    val, development
        Row to seed to predictions of the val patients, and of the train patients set aside.
    cells
        One line a training: ``row``, then ``cells.csv`` as published.
    preset
        What was asked, with the name of the row that others are compared with.
    cohort
        The knees where they were drawn here; ``None`` where only the table was read.
    """

    source: str
    val: Rows
    development: Rows
    cells: pd.DataFrame
    preset: Preset
    cohort: Cohort | None = None

    def beside(self, base: GridSource) -> GridSource:
        """This grid with the rows of `base` that its preset names before its own, and the seeds that it has itself.

        A loss that knows the order of the grades has a free rival: the same order in the rule that picks the grade.
        So a row that the preset rounds stands there twice, the second time with its expected grade rounded.

        Parameters
        ----------
        base
            Grid of the preset that `preset.base` names, of the same knees.
        """
        chosen = self.preset.beside
        cells = base.cells[base.cells["row"].isin(chosen)]
        seeds = set(self.cells["seed"])

        def rows(own: Rows, theirs: Rows) -> Rows:
            shown = {}
            for row in chosen:
                shown[row] = {s: theirs[row][s] for s in theirs[row] if s in seeds}
                if row in self.preset.rounded:
                    shown[row + ROUNDED] = {s: decided(table, EXPECTED) for s, table in shown[row].items()}
            return shown | own

        return replace(
            self,
            val=rows(self.val, base.val),
            development=rows(self.development, base.development),
            cells=pd.concat([cells[cells["seed"].isin(seeds)], self.cells], ignore_index=True),
        )

    def ceiling(self) -> dict[str, float]:
        """Best expected accuracy, QWK and KL1 recall on the val knees; empty where nobody knows the readers."""
        if self.cohort is None:
            return {}
        knees = next(iter(next(iter(self.val.values())).values()))
        best = ceiling(consensus_posterior(knees, self.cohort))
        return {name: getattr(best, name) for name in CEILING_METRICS}


def published_grid(name: str, *, whole: bool = True) -> GridSource:
    """Grid of real knees that came with the kit, without the rows of another that its preset sets beside it.

    Parameters
    ----------
    name
        Of its preset and of its folder below ``results/``.
    whole
        Refuse a grid of which a row was never trained.

    Raises
    ------
    KoaError
        If it did not come with the kit, or is not whole.
    """
    if folder := published_folder(name, whole):
        return grid_source(folder, "published results of {cells} cells on {knees}", preset_of(name))
    raise KoaError(
        f"No whole grid {name!r} is published.",
        where="results",
        remedy=f"Go on with it: koa ablate --preset {name} --publish results/{name}.",
    )


def reproduced(cells: pd.DataFrame, preset: Preset) -> pd.DataFrame:
    """Cells trained anew beside the interval that the published grid of the preset's base states for their row.

    Parameters
    ----------
    cells
        From `run_grid`, on the published knees; failed cells are left out.
    preset
        One that trains rows of its base once more.

    Returns
    -------
    DataFrame
        One row a row and metric of val: ``row``, ``metric``, ``value`` (mean over the new trainings), ``published``,
        ``low`` and ``high`` (its 95 % interval over patients and seeds), ``inside``. Empty where no base with these
        rows is published, or it is of other knees.
    """
    found = []
    if preset.base and published_folder(preset.base):
        base = published_grid(preset.base)
        known = base.cells["cohort_fingerprint"].unique()
        cells = cells[cells["status"].ne("failed") & cells["cohort_fingerprint"].isin(known)]
        for row, own in cells.groupby(cells["cell"].str.rsplit("/", n=1).str[0]):
            if row not in base.val:
                continue
            for told in seed_intervals(base.val[row], metrics=ROW_METRICS).itertuples():
                value = float(own[told.metric].mean())
                inside = told.low <= value <= told.high
                found.append((row, told.metric, value, told.value, told.low, told.high, inside))
    return pd.DataFrame(found, columns=["row", "metric", "value", "published", "low", "high", "inside"])


def published_folder(name: str, whole: bool = True) -> Path | None:
    """Folder of a grid that came with the kit, if it did and, where `whole`, every row of its preset was trained."""
    try:
        folder = resource("results") / name
    except KoaError:
        return None
    if not all((folder / file).is_file() for file in (TABLE, PREDICTIONS)):
        return None
    trained = pd.read_csv(folder / TABLE, usecols=["cell"])["cell"].str.rsplit("/", n=1).str[0]
    return folder if not whole or set(preset_of(name).rows) <= set(trained) else None


def grid_source(folder: Path, source: str, preset: Preset, cohort: Cohort | None = None) -> GridSource:
    """`GridSource` of a folder with published cells; `source` is a sentence with the fields ``cells`` and ``knees``."""
    cells = pd.read_csv(folder / TABLE)
    cells.insert(0, "row", cells["cell"].str.rsplit("/", n=1).str[0])
    source = source.format(cells=len(cells), knees=cells["cohort"].iloc[0])
    averaged = tuple(row for row in ("plain",) if row in preset.rows)
    val, development = (
        _in_order(read_rows(folder, split, flip_averaging=averaged), preset) for split in ("val", DEVELOPMENT)
    )
    return GridSource(source, val, development, cells, preset, cohort)


def _in_order(rows: Rows, preset: Preset) -> Rows:
    """Rows as the preset names them, others behind; flip averaging right after its row."""
    place = {row: number for number, row in enumerate(preset.rows)}
    return {row: rows[row] for row in sorted(rows, key=lambda row: place.get(row.removesuffix(FLIP_AVERAGED), 99))}
