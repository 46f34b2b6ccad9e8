"""Rows of a grid, each trained with several seeds: intervals that hold the chance in patients and in training.

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
from koa_kit.error_analysis.statistics.comparison import aligned, mcnemar
from koa_kit.error_analysis.statistics.intervals import bootstrap, check_level, percentile_interval
from koa_kit.errors import KoaError

SeedTables = Mapping[int, pd.DataFrame]
"""Seed of the training to its predictions table; all tables are of the same knees."""

ROW_METRICS = ("accuracy", "qwk", "kl1_recall")
DIFFERENCE = ("difference", "difference_low", "difference_high", "p")


def seed_intervals(
    tables: SeedTables,
    *,
    metrics: Sequence[str] = METRICS,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row a metric: its mean over seeds, with an interval over patients and seeds.

    Parameters
    ----------
    tables
        Seed of the training to predictions. With one seed the interval is that of `intervals`: it holds the chance in
        patients only, and says nothing about training again.
    metrics
        Names out of `METRICS`, or ``kl0_recall`` … ``kl4_f1``.
    draws
        Bootstrap draws, each of patients and of seeds.
    seed
        Of the bootstrap: same seed, same patients, same seeds of training: same draws.
    level
        Share of the draws inside the interval.

    Returns
    -------
    DataFrame
        ``metric``; ``value``, the mean over seeds; ``low``, ``high``; ``seed_sd``, the standard deviation over seeds
        (n - 1; nan for one); ``n_seeds``, ``n_knees``, ``n_patients``. A metric that one seed cannot tell is nan.

    Raises
    ------
    KoaError
        If there is no seed, two tables are not of the same knees, a metric is unknown, or `draws` or `level` make no
        interval.
    """
    metrics = _names(metrics)
    check_level(draws, level)
    tables = _aligned_rows({"the row": tables})["the row"]
    drawn, chosen = _by_seed(tables, metrics, draws, seed), draw_seeds(list(tables), draws, seed)
    found = [{"metric": name} | _summary(drawn[name], chosen, level) for name in metrics]
    return pd.DataFrame(found).assign(n_seeds=len(tables), **_counts(tables))


def seed_values(rows: Mapping[str, SeedTables], metrics: Sequence[str] = ROW_METRICS) -> pd.DataFrame:
    """Each metric of each single training: columns ``row``, ``seed``, ``metric``, ``value``.

    Raises
    ------
    KoaError
        If there is no row or no seed, two tables are not of the same knees, or a metric is unknown.
    """
    metrics = _names(metrics)
    found = []
    for row, tables in _aligned_rows(rows).items():
        for seed, table in tables.items():
            values = bootstrap(table, metrics, draws=0)
            found += [{"row": row, "seed": seed, "metric": name, "value": float(values[name][0])} for name in metrics]
    return pd.DataFrame(found, columns=["row", "seed", "metric", "value"])


def compare_rows(
    rows: Mapping[str, SeedTables],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = ROW_METRICS,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row a row of the grid and metric, with its difference from the baseline on the same draws of patients.

    A row with the baseline's seeds is drawn in pairs with it, since one seed gives both the same order of knees and the
    same first weights; a row with other seeds is drawn independently.

    Parameters
    ----------
    rows
        Name of the row to its `SeedTables`. A row of one seed has chance in patients only in its interval.
    baseline
        Row the others are compared with; omitted, the first.
    metrics, draws, seed, level
        As in `seed_intervals`.

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
        If there is no row or no seed, the baseline is none of the rows, two tables are not of the same knees, a metric
        is unknown, or `draws` or `level` make no interval.
    """
    metrics = _names(metrics)
    check_level(draws, level)
    aligned_rows = _aligned_rows(rows)
    baseline = next(iter(rows)) if baseline is None else baseline
    if baseline not in rows:
        raise KoaError(f"There is no row {baseline!r}.", where="baseline", remedy=f"Choose from {', '.join(rows)}.")
    reference = aligned_rows[baseline]
    drawn = {row: _by_seed(tables, metrics, draws, seed) for row, tables in aligned_rows.items()}
    chosen = {row: draw_seeds(list(tables), draws, seed) for row, tables in aligned_rows.items()}
    found = []
    for row, tables in aligned_rows.items():
        for name in metrics:
            told = {"row": row, "metric": name} | _summary(drawn[row][name], chosen[row], level)
            told |= dict.fromkeys(
                ("difference", "difference_low", "difference_high", "p", "p_holm", "p_mcnemar"), np.nan
            )
            if row != baseline:
                own, other = (_mean_over_seeds(drawn[each][name], chosen[each]) for each in (row, baseline))
                told |= _difference(own - other, level)
                if name == "accuracy":
                    told["p_mcnemar"] = _paired_mcnemar(tables, reference)
            found.append(told | {"n_seeds": len(tables)} | _counts(tables) | {"baseline": baseline})
    table = pd.DataFrame(found)
    table["p_holm"] = table.groupby("metric")["p"].transform(holm)
    return table


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values corrected for their number by Holm's steps (1979), float64 ``(N,)``; nan stays nan and is not counted.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    corrected, told = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = told[np.argsort(p[told])]
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected


def draw_seeds(seeds: Sequence[int], draws: int, seed: int) -> np.ndarray:
    """Places in `seeds` drawn with replacement, int ``(draws, len(seeds))``; the same for the same `seeds`."""
    # The seeds themselves start the generator, so rows with the same seeds are paired and others independent.
    return np.random.default_rng([seed, len(seeds), *seeds]).integers(len(seeds), size=(draws, len(seeds)))


def _names(metrics: Sequence[str]) -> list[str]:
    return [metrics] if isinstance(metrics, str) else list(metrics)


def _aligned_rows(rows: Mapping[str, SeedTables]) -> dict[str, dict[int, pd.DataFrame]]:
    """`rows` with seeds in order and all tables in the order of the first one's knees."""
    if not rows:
        raise KoaError("There is no row to score.", remedy="Give a dict of row to a dict of seed to predictions.")
    for row, tables in rows.items():
        if not isinstance(tables, Mapping) or not tables:
            raise KoaError(
                f"A row is its predictions by seed, not {type(tables).__name__}."
                if not isinstance(tables, Mapping)
                else "A row has no seed.",
                where=row,
                remedy="Give a dict of seed to predictions; {0: predictions} for a single training.",
            )
        odd = [seed for seed in tables if not isinstance(seed, Integral) or seed < 0]
        if odd:
            raise KoaError(f"A seed is a whole number from 0 on, not {odd[0]!r}.", where=row)
    (first_row, first_tables), *_ = rows.items()
    first_seed = min(first_tables)
    first, first_name = first_tables[first_seed], f"{first_row}, seed {first_seed}"
    return {
        row: {
            int(seed): aligned(first, tables[seed], names=(first_name, f"{row}, seed {seed}"))
            for seed in sorted(tables)
        }
        for row, tables in rows.items()
    }


def _counts(tables: SeedTables) -> dict[str, int]:
    table = next(iter(tables.values()))
    return {"n_knees": len(table), "n_patients": int(table["patient"].nunique())}


def _by_seed(tables: SeedTables, metrics: Sequence[str], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Metric name to float64 ``(seeds, 1 + draws)``: the value on all knees, then on each draw of patients."""
    each = [bootstrap(table, metrics, draws=draws, seed=seed) for table in tables.values()]
    return {name: np.array([drawn[name] for drawn in each]) for name in metrics}


def _mean_over_seeds(drawn: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over all seeds, then in each draw over the seeds chosen for it, float64 ``(1 + draws,)``."""
    draw = 1 + np.arange(len(chosen))[:, None]
    return np.r_[drawn[:, 0].mean(), drawn[chosen, draw].mean(1)]


def _summary(drawn: np.ndarray, chosen: np.ndarray, level: float) -> dict[str, float]:
    value, *samples = _mean_over_seeds(drawn, chosen)
    low, high, _ = percentile_interval(value, np.array(samples), level)
    spread = float(drawn[:, 0].std(ddof=1)) if len(drawn) > 1 else float("nan")
    return {"value": float(value), "low": low, "high": high, "seed_sd": spread}


def _difference(gap: np.ndarray, level: float) -> dict[str, float]:
    # Means of the same numbers in another order differ by 1e-17, which must count as no difference.
    gap = gap.round(12)
    low, high, told = percentile_interval(gap[0], gap[1:], level)
    p = float("nan")
    if not np.isnan(low):
        p = min(1.0, 2 * (min((gap[1:] <= 0).sum(), (gap[1:] >= 0).sum()) + 1) / (told + 1))
    return dict(zip(DIFFERENCE, (float(gap[0]), low, high, float(p)), strict=True))


def _paired_mcnemar(tables: SeedTables, reference: SeedTables) -> float:
    if set(tables) != set(reference):
        return float("nan")
    return float(np.median([mcnemar(tables[seed], reference[seed])["p_mid"] for seed in tables]))
