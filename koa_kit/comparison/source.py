"""Where a comparison of arms comes from: the published table of real knees, or a small grid trained on the spot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.presets import Preset
from koa_kit.comparison.presets import preset as preset_of
from koa_kit.comparison.published import PREDICTIONS, read_arms
from koa_kit.comparison.tables import TABLE, arms_of, read_table
from koa_kit.data.splits import HOLDOUT
from koa_kit.error_analysis.ceiling import CEILING_METRICS, consensus_posterior
from koa_kit.error_analysis.decisions.decision import apply_rule
from koa_kit.error_analysis.decisions.rules import EXPECTED
from koa_kit.error_analysis.predictions import flip_averaged
from koa_kit.error_analysis.statistics.seeds import ARM_METRICS, seed_intervals
from koa_kit.errors import KoaError
from koa_kit.paths import resource
from koa_kit.phantom.readers.bounds import noise_ceiling

REAL_KNEES = "oai-kl224"
FLIP_AVERAGED = " + flip averaging"
ROUNDED = " + rounding"
Arms = dict[str, dict[int, pd.DataFrame]]


@dataclass(frozen=True)
class GridSource:
    """Arms of a grid, ready to be compared, and where they come from (`source`, one sentence).

    `val` and `holdout` are arm to seed to predictions; `cells` has one line per training, its arm as ``row``, then
    ``cells.csv`` as published; `cohort` are the knees where they were drawn here.
    """

    source: str
    val: Arms
    holdout: Arms
    cells: pd.DataFrame
    preset: Preset
    cohort: Cohort | None = None

    def with_base(self, base: GridSource) -> GridSource:
        """This grid with the arms that its preset names of `base` before its own, for the seeds that it has itself.

        A loss that knows the order of the grades competes with the same order in the rule that picks the grade, which
        costs nothing: where the preset says so, an arm of the base stands there again, its expected grade rounded.
        """
        chosen, seeds = self.preset.base_arms, set(self.cells["seed"])
        trials = base.cells[base.cells["row"].isin(chosen) & base.cells["seed"].isin(seeds)]

        def with_base_arms(own: Arms, theirs: Arms) -> Arms:
            shown = {}
            for arm in chosen:
                shown[arm] = {seed: table for seed, table in theirs[arm].items() if seed in seeds}
                if self.preset.rounded:
                    shown[arm + ROUNDED] = {seed: apply_rule(table, EXPECTED) for seed, table in shown[arm].items()}
            return shown | own

        return replace(
            self,
            val=with_base_arms(self.val, base.val),
            holdout=with_base_arms(self.holdout, base.holdout),
            cells=pd.concat([trials, self.cells], ignore_index=True),
        )

    def ceiling(self) -> dict[str, float]:
        """Best expected accuracy, QWK and KL1 recall on the val knees; empty where the readers are unknown."""
        knees = next(iter(next(iter(self.val.values())).values()))
        posterior = consensus_posterior(knees, self.cohort)
        if posterior is None:
            return {}
        best = noise_ceiling(posterior)
        return {name: getattr(best, name) for name in CEILING_METRICS}


def grid_source(folder: Path, source: str, preset: Preset, cohort: Cohort | None = None) -> GridSource:
    """`GridSource` of a published folder; `source` is a sentence with the fields ``cells`` (a number) and ``knees``."""
    trials = read_table(folder)
    trials.insert(0, "row", arms_of(trials))
    source = source.format(cells=len(trials), knees=trials["cohort"].iloc[0])
    val, holdout = (_as_shown(read_arms(folder, split), preset) for split in ("val", HOLDOUT))
    return GridSource(source, val, holdout, trials, preset, cohort)


def _as_shown(arms: Arms, preset: Preset) -> Arms:
    """Arms as the preset names them, others behind; the same models with both views averaged right after "plain"."""
    place, shown = {arm: number for number, arm in enumerate(preset.arms)}, {}
    for arm in sorted(arms, key=lambda arm: place.get(arm, len(place))):
        shown[arm] = arms[arm]
        if arm == "plain":
            shown[arm + FLIP_AVERAGED] = {seed: flip_averaged(table) for seed, table in arms[arm].items()}
    return shown


def published_folder(name: str, whole: bool = True) -> Path | None:
    """Folder of a grid that came with the kit, if it did and, where `whole`, every arm of its preset was trained."""
    try:
        folder = resource("results") / name
    except KoaError:
        return None
    if not all((folder / file).is_file() for file in (TABLE, PREDICTIONS)):
        return None
    return folder if not whole or set(preset_of(name).arms) <= set(arms_of(read_table(folder))) else None


def published_grid(name: str, *, whole: bool = True) -> GridSource:
    """Grid of real knees that came with the kit, without the arms of the preset it builds on; else a `KoaError`."""
    if folder := published_folder(name, whole):
        return grid_source(folder, "published results of {cells} cells on {knees}", preset_of(name))
    remedy = f"Go on with it: koa ablate --preset {name} --publish results/{name}."
    raise KoaError(f"No whole grid {name!r} is published.", where="results", remedy=remedy)


def reproduction_table(trials: pd.DataFrame, preset: Preset) -> pd.DataFrame:
    """Scores on val of arms that `run_grid` trained anew, with the intervals that the published grid of the base has.

    One row per arm and metric: ``new`` (mean over the new trainings), ``value`` (the published one), ``low`` and
    ``high`` (its 95 % interval over patients and seeds), ``inside``. Empty where no base with these arms is published.
    """
    tables = [pd.DataFrame(columns=["arm", "metric", "new", "value", "low", "high", "inside"])]
    if preset.base and published_folder(preset.base):
        base = published_grid(preset.base)
        same_knees = trials["cohort_fingerprint"].isin(base.cells["cohort_fingerprint"])
        trials = trials[trials["status"].ne("failed") & same_knees]
        for arm, own in trials.groupby(arms_of(trials)):
            if arm in base.val:
                table = seed_intervals(base.val[arm], metrics=ARM_METRICS)
                new = table["metric"].map(own[list(ARM_METRICS)].mean())
                table = table.assign(arm=arm, new=new, inside=new.between(table["low"], table["high"]))
                tables.append(table[tables[0].columns])
    return pd.concat(tables[1:] or tables, ignore_index=True)
