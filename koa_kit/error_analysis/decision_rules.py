"""The same probabilities under two rules: the most likely grade, which accuracy likes, and the rounded mean grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from koa_kit.error_analysis.decisions import Decision, decided
from koa_kit.error_analysis.seeds import compare_rows

EXPECTED = Decision(rule="expected_grade")
DECISIONS = {"most likely": Decision(), "expected, rounded": EXPECTED}
"""Neither has anything fitted, so both may be judged on any knees the model was not trained on."""

RULE_METRICS = ("accuracy", "qwk", "mae", "kl1_recall", "kl1_precision")


def compare_rules(
    predictions: pd.DataFrame,
    decisions: Mapping[str, Decision] = DECISIONS,
    *,
    metrics: Sequence[str] = RULE_METRICS,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """One model's knees graded by each decision, compared with the first on the same draws of patients.

    The most likely grade has the highest expected accuracy; the mean grade has the lowest expected squared error, which
    QWK punishes, and rounding it makes a KL1 of a knee torn between KL0 and KL2.

    Parameters
    ----------
    predictions
        Of one model, before `flip_averaged`: see `decided`.
    decisions
        Name to decision; the first is the baseline.
    metrics, draws, seed
        As in `compare_rows`.

    Returns
    -------
    DataFrame
        As from `compare_rows`, ``row`` being the name of the decision.
    """
    rows = {name: {0: decided(predictions, decision)} for name, decision in decisions.items()}
    return compare_rows(rows, metrics=metrics, draws=draws, seed=seed)
