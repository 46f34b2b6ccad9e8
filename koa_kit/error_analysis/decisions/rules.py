"""The same probabilities under three rules: the grade with the largest share, their median, their rounded mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from koa_kit.error_analysis.decisions.decide import Decision, decided
from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.error_analysis.statistics.seeds import compare_rows

EXPECTED = Decision(rule="expected_grade")
DECISIONS = {"most likely": Decision(), "median": Decision(rule="median_grade"), "expected, rounded": EXPECTED}
"""None has anything fitted, so all may be judged on any knees the model was not trained on."""

VALUE, CHANGE = "{:.3f} ({:.3f} to {:.3f})", "{:+.3f} ({:+.3f} to {:+.3f})"
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

    If the probabilities are right, each rule has the lowest expected cost of one kind: the most likely grade of being
    wrong, the median of the distance from the reader's grade (MAE), the mean of its square, which QWK punishes. So the
    rules part where a knee is torn, and a knee torn between KL0 and KL2 becomes a KL1.

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


def rules_in_words(rules: pd.DataFrame) -> pd.DataFrame:
    """What `compare_rules` found, as texts to read: a line a rule, then a line for what each changes from the first.

    Parameters
    ----------
    rules
        From `compare_rules`.

    Returns
    -------
    DataFrame
        Texts such as ``0.684 (0.657 to 0.714)``, one column a metric under the name that `METRIC_LABELS` has for it.
    """
    names, metrics = rules["row"].unique(), rules["metric"].unique()
    found = rules.set_index(["row", "metric"])

    def texts(name: str, form: str, *columns: str) -> list[str]:
        numbers = (found.loc[(name, metric), list(columns)] for metric in metrics)
        return ["cannot be told" if pd.isna(row.iloc[0]) else form.format(*row) for row in numbers]

    lines = {name: texts(name, VALUE, "value", "low", "high") for name in names}
    changes = ("difference", "difference_low", "difference_high")
    lines |= {f"{name}: difference": texts(name, CHANGE, *changes) for name in names[1:]}
    heads = [METRIC_LABELS[metric] for metric in metrics]
    return pd.DataFrame.from_dict(lines, orient="index", columns=heads)
