"""What a comparison of rows supports, in sentences: better, worse, or no difference that shows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.errors import KoaError

LEVEL = 0.05
FEW_SEEDS = 3
LOWER_IS_BETTER = ("mae", "ece", "flip_disagreement")
_IN_POINTS = ("accuracy", "balanced_accuracy", "flip_disagreement", "recall", "precision", "f1")


def draw_conclusions(comparison: pd.DataFrame, metric: str = "accuracy") -> list[str]:
    """What is compared, one sentence per row other than the baseline, then every reason to be careful with them.

    The comparison is that of `compare_arms`; a row differs where its ``p_holm`` is below 0.05.
    """
    table = comparison[comparison["metric"] == metric]
    others = table[table["row"] != table["baseline"]]
    if others.empty:
        raise KoaError(
            f"The comparison has nothing to say of {metric!r}.",
            remedy="Name the metric in compare_arms(…, metrics=…), and give it two rows.",
        )
    heading = f"{METRIC_LABELS[metric]}, each row beside {table['baseline'].iloc[0]}:"
    return [heading, *(_sentence(row, metric) for row in others.itertuples()), *_cautions(table, others)]


def outcome(row, metric: str = "accuracy") -> str:
    """ "better", "worse" or "no difference" of one line of a comparison, as `draw_conclusions` says it."""
    if not row.p_holm < LEVEL:  # also nan
        return "no difference"
    return "better" if (row.difference > 0) != (metric in LOWER_IS_BETTER) else "worse"


def _sentence(row, metric: str) -> str:
    if np.isnan(row.difference) or np.isnan(row.difference_low):
        return f"{row.row}: cannot be compared on these knees."
    scale, unit, form = (100, " points", "+.1f") if metric.endswith(_IN_POINTS) else (1, "", "+.3f")
    gap, low, high = (format(scale * each, form) for each in (row.difference, row.difference_low, row.difference_high))
    size, found = f"{gap}{unit} ({low} to {high})", outcome(row, metric)
    if found != "no difference":
        return f"{row.row}: {found} by {size}, corrected p {row.p_holm:.3f}."
    alone = row.difference_low > 0 or row.difference_high < 0
    luck = f"; its own interval leaves out 0, but p is {row.p_holm:.2f} after correction" if alone else ""
    return f"{row.row}: no difference could be told, {size}{luck}."


def _cautions(table: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """Why the sentences hold for less than they seem to; the last says what the intervals hold."""
    few, many = int(table["n_seeds"].min()), int(table["n_seeds"].max())
    trainings = f"{few}" if few == many else f"{few} to {many}"
    found = []
    if few == 1:
        found.append(
            "Careful: with one training a row the interval holds the chance in patients alone, not of training again."
        )
    elif few < FEW_SEEDS:
        found.append(
            f"Careful: {few} trainings a row are few. The intervals show {(few - 1) / few:.0%} of the variance between "
            "trainings, so they are too short."
        )
    noisy = [row.row for row in others.itertuples() if _seeds_rule(row, table)]
    if noisy and few > 1:
        where = "every row" if len(noisy) == len(others) > 1 else ", ".join(noisy)
        found.append(
            f"Careful: trainings differ more than patients do in {where}. A small p says little there: "
            f"of two equal methods, one wins all {few} trainings in {2 * 0.5**few:.0%} of cases."
        )
    knees, patients = int(table["n_knees"].iloc[0]), int(table["n_patients"].iloc[0])
    return [*found, f"Counted: {trainings} trainings a row, {knees} knees of {patients} patients."]


def _seeds_rule(row, table: pd.DataFrame) -> bool:
    """True if more than half of the variance of a row's difference comes from its seeds, taken as independent."""
    other = table[table["row"] == row.baseline].iloc[0]
    pairs = ((row.seed_sd, row.n_seeds), (other["seed_sd"], other["n_seeds"]))
    # the bootstrap shows (n - 1) / n of the variance of a mean over n seeds; the rest of the interval is patients
    seeds = sum(sd**2 * (n - 1) / n**2 for sd, n in pairs if n > 1)
    whole = ((row.difference_high - row.difference_low) / (2 * 1.96)) ** 2
    return bool(seeds > 0 and seeds > whole / 2)
