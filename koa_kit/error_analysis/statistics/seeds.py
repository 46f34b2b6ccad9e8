"""Arms of a grid, each trained with several seeds: intervals that hold the chance in patients and in training.

Every seed grades every knee, so a draw takes patients and, independently of them, seeds, both with replacement: the
pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1:386). It knows no seeds but those given: of n it shows
(n - 1)/n of the variance between seeds. Where seeds differ more than patients do, three of them are too few for its p:
three differences of one sign leave every draw on one side of 0, and chance gives them one time in four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import METRICS
from koa_kit.error_analysis.statistics.comparison import align_predictions, holm, mcnemar
from koa_kit.error_analysis.statistics.intervals import bootstrap, check_level, percentile_interval
from koa_kit.errors import KoaError

SeedTables = Mapping[int, pd.DataFrame]
"""Seed of the training to its predictions table; all tables are of the same knees."""

ARM_METRICS = ("accuracy", "qwk", "kl1_recall")
DIFFERENCE = ("difference", "difference_low", "difference_high", "p")


def seed_intervals(tables: SeedTables, *, metrics: Sequence[str] = METRICS, **options) -> pd.DataFrame:
    """One row per metric: its mean over seeds, with an interval over patients and seeds.

    With one seed the interval is that of `metric_intervals`: it holds the chance in patients only, and says nothing
    about training again. Options (`draws`, `seed`, `level`) and errors are those of `compare_arms`.

    Returns
    -------
    DataFrame
        ``metric``; ``value``, the mean over seeds; ``low``, ``high``; ``seed_sd``, the standard deviation over seeds
        (n - 1; nan for one); ``n_seeds``, ``n_knees``, ``n_patients``. A metric that is nan for one seed is nan.
    """
    table = compare_arms({"the row": tables}, metrics=metrics, **options)
    return table[["metric", "value", "low", "high", "seed_sd", "n_seeds", "n_knees", "n_patients"]]


def seed_values(rows: Mapping[str, SeedTables], metrics: Sequence[str] = ARM_METRICS) -> pd.DataFrame:
    """Each metric of each single training: columns ``row``, ``seed``, ``metric``, ``value``."""
    values = []
    for row, tables in _aligned_rows(rows).items():
        for seed, table in tables.items():
            found = bootstrap(table, metrics, draws=0)
            values += [(row, seed, name, float(value[0])) for name, value in found.items()]
    return pd.DataFrame(values, columns=["row", "seed", "metric", "value"])


def compare_arms(
    rows: Mapping[str, SeedTables],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = ARM_METRICS,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One line per row of the grid and metric, with its difference from the baseline on the same draws of patients.

    A row with the baseline's seeds is drawn in pairs with it, since one seed gives both the same order of knees and the
    same first weights; a row with other seeds is drawn independently.

    Parameters
    ----------
    rows
        Name of the row to its `SeedTables`.
    baseline
        Row the others are compared with; omitted, the first.
    metrics
        Names out of `METRICS`, or ``kl0_recall`` … ``kl4_f1``.
    draws, seed
        Bootstrap draws, each of patients and of seeds: the same for the same seed, patients and seeds of training.
    level
        Share of the draws inside the interval.

    Returns
    -------
    DataFrame
        ``row``, ``metric``, ``value``, ``low``, ``high``, ``seed_sd`` as in `seed_intervals`; ``difference`` (row minus
        baseline), ``difference_low``, ``difference_high``; ``p``, two-sided, from the share of draws on the wrong side
        of 0, never below 2 / (draws + 1); ``p_holm``, corrected for all rows within the metric; ``p_mcnemar``, the
        median over pairs of seeds of McNemar's mid-p (in the row of accuracy; nan where seeds are no pairs);
        ``n_seeds``, ``n_knees``, ``n_patients``, ``baseline``. The baseline's own differences and p are nan.

    Raises
    ------
    KoaError
        If there is no row or seed, or no such baseline or metric, two tables are not of the same knees, or `draws` or
        `level` make no interval.
    """
    check_level(draws, level)
    aligned_rows = _aligned_rows(rows)
    baseline = next(iter(rows)) if baseline is None else baseline
    if baseline not in rows:
        what = f"There is no {baseline!r} to compare with."
        raise KoaError(what, where="baseline", remedy=f"Choose from {', '.join(rows)}.")
    drawn = {row: _over_seeds(tables, metrics, draws, seed) for row, tables in aligned_rows.items()}
    lines, reference = [], aligned_rows[baseline]
    for row, tables in aligned_rows.items():
        knees = next(iter(tables.values()))
        size = {"n_seeds": len(tables), "n_knees": len(knees), "n_patients": int(knees["patient"].nunique())}
        for name, (mean, spread) in drawn[row].items():
            low, high, _ = percentile_interval(mean[0], mean[1:], level)
            line = {"row": row, "metric": name, "value": float(mean[0]), "low": low, "high": high, "seed_sd": spread}
            line |= dict.fromkeys((*DIFFERENCE, "p_holm", "p_mcnemar"), np.nan)
            if row != baseline:
                line |= _difference(mean - drawn[baseline][name][0], level)
            if row != baseline and name == "accuracy" and set(tables) == set(reference):
                tests = [mcnemar(tables[number], reference[number]) for number in tables]
                line["p_mcnemar"] = float(np.median([test["p_mid"] for test in tests]))
            lines.append(line | size | {"baseline": baseline})
    table = pd.DataFrame(lines)
    table["p_holm"] = table.groupby("metric")["p"].transform(holm)
    return table


def compare(predictions: Mapping[str, pd.DataFrame], **options) -> pd.DataFrame:
    """One row per method and metric: `compare_arms` of methods that were trained once each.

    Options (`baseline`, `metrics`, `draws`, `seed`, `level`) and errors are those of `compare_arms`; the columns too,
    with ``method`` for ``row`` and without ``seed_sd``, ``p``, ``p_holm`` and ``n_seeds``.
    """
    table = compare_arms({name: {0: table} for name, table in predictions.items()}, **options)
    return table.drop(columns=["seed_sd", "p", "p_holm", "n_seeds"]).rename(columns={"row": "method"})


def draw_seeds(seeds: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """Places in `seeds` drawn with replacement, int ``(draws, len(seeds))``."""
    # the seeds themselves start the generator, so rows with the same seeds are paired and others independent
    return np.random.default_rng([seed, len(seeds), *seeds]).integers(len(seeds), size=(draws, len(seeds)))


def _aligned_rows(rows: Mapping[str, SeedTables]) -> dict[str, dict[int, pd.DataFrame]]:
    """`rows` with seeds in order and all tables in the order of the first one's knees."""
    if not rows:
        raise KoaError("There is no row to score.", remedy="Give a dict of row to a dict of seed to predictions.")
    remedy = "Give a dict of seed to predictions; {0: predictions} for a single training."
    for row, tables in rows.items():
        if not isinstance(tables, Mapping):
            what = f"A row is its predictions by seed, not {type(tables).__name__}."
            raise KoaError(what, where=row, remedy=remedy)
        if not tables:
            raise KoaError("A row has no seed.", where=row, remedy=remedy)
        if odd := [seed for seed in tables if not isinstance(seed, Integral) or seed < 0]:
            raise KoaError(f"A seed is a whole number from 0 on, not {odd[0]!r}.", where=row)
    ordered = {row: {int(seed): tables[seed] for seed in sorted(tables)} for row, tables in rows.items()}
    named = [(f"{row}, seed {seed}", table) for row, tables in ordered.items() for seed, table in tables.items()]
    first_name, first = named[0]
    aligned = iter([align_predictions(first, table, names=(first_name, name)) for name, table in named])
    return {row: {seed: next(aligned) for seed in seeds} for row, seeds in ordered.items()}


def _over_seeds(
    tables: SeedTables, metrics: Sequence[str], draws: int, seed: int
) -> dict[str, tuple[np.ndarray, float]]:
    """Metric name to its means, float64 ``(1 + draws,)``: over all seeds, then over those of a draw; and their SD."""
    each = [bootstrap(table, metrics, draws=draws, seed=seed) for table in tables.values()]
    chosen, draw = draw_seeds(list(tables), draws, seed), 1 + np.arange(draws)[:, None]
    found = {}
    for name in each[0]:
        drawn = np.array([values[name] for values in each])
        spread = float(drawn[:, 0].std(ddof=1)) if len(drawn) > 1 else float("nan")
        found[name] = np.r_[drawn[:, 0].mean(), drawn[chosen, draw].mean(1)], spread
    return found


def _difference(gap: np.ndarray, level: float) -> dict[str, float]:
    # Means of the same numbers in another order differ by 1e-17, which must count as no difference.
    gap = gap.round(12)
    low, high, known = percentile_interval(gap[0], gap[1:], level)
    p = float("nan")
    if not np.isnan(low):
        p = min(1.0, 2 * (min((gap[1:] <= 0).sum(), (gap[1:] >= 0).sum()) + 1) / (known + 1))
    return dict(zip(DIFFERENCE, (float(gap[0]), low, high, float(p)), strict=True))
