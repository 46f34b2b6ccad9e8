"""Two rows at the same KL1 recall: did a loss teach more about KL1, or did it only draw the line elsewhere?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.decisions.curves import kl1_curve
from koa_kit.error_analysis.decisions.decide import Decision, decided
from koa_kit.error_analysis.metrics import metrics as scores_of
from koa_kit.error_analysis.predictions import similarities
from koa_kit.error_analysis.statistics.seeds import SeedTables, compare_rows
from koa_kit.errors import KoaError

MOVED = " with a KL1 bias"
EQUAL_METRICS = ("kl1_recall", "accuracy", "qwk", "kl1_precision")


def bias_for_recall(predictions: pd.DataFrame, recall: float) -> float:
    """KL1 bias at which the most likely grade finds the share `recall` of KL1 knees, as nearly as these knees allow.

    Raises
    ------
    KoaError
        If no knee is of KL1.
    """
    curve = kl1_curve(similarities(predictions), predictions["kl"].to_numpy(), Decision())
    if curve["kl1_recall"].isna().any():
        raise KoaError("Without KL1 knees there is no recall to reach.", remedy="Give predictions of all grades.")
    return float(curve.loc[(curve["kl1_recall"] - recall).abs().idxmin(), "kl1_bias"])


def compare_at_recall(
    row: str,
    rival: str,
    *,
    chosen_on: Mapping[str, SeedTables],
    judged_on: Mapping[str, SeedTables],
    metrics: Sequence[str] = EQUAL_METRICS,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row beside a rival whose KL1 logit got a bias, so that both find about as many KL1 knees.

    A row that finds more KL1 knees by knowing them better than its rival keeps more accuracy at the same recall; one
    that only calls more knees KL1 does not.

    Parameters
    ----------
    row, rival
        Names in both mappings.
    chosen_on
        Row to `SeedTables` on which each training of the rival gets its bias: the one that brings it to the row's mean
        KL1 recall there.
    judged_on
        The same of other patients, on which both are scored.
    metrics, draws, seed
        As in `compare_rows`.

    Returns
    -------
    DataFrame
        As from `compare_rows`, the rival with its bias being the baseline.

    Raises
    ------
    KoaError
        If a row is missing, the two mappings do not hold the same seeds of the rival, or no knee is of KL1.
    """
    for rows in (chosen_on, judged_on):
        if missing := {row, rival} - set(rows):
            raise KoaError(f"There is no row {min(missing)!r}.", remedy=f"Choose from {', '.join(rows)}.")
    if set(chosen_on[rival]) != set(judged_on[rival]):
        raise KoaError("A bias is chosen for each training that is judged.", where=rival, remedy="Give the same seeds.")
    recall = float(np.mean([scores_of(table)["kl1_recall"] for table in chosen_on[row].values()]))
    moved = {
        number: decided(table, Decision(kl1_bias=bias_for_recall(chosen_on[rival][number], recall)))
        for number, table in judged_on[rival].items()
    }
    return compare_rows({rival + MOVED: moved, row: judged_on[row]}, metrics=metrics, draws=draws, seed=seed)
