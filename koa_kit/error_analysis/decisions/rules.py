"""The same answers under other decisions: three rules side by side, and two rows of a grid at the same KL1 recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from koa_kit.error_analysis.decisions.curves import kl1_curve
from koa_kit.error_analysis.decisions.decision import DecisionRule, apply_rule
from koa_kit.error_analysis.metrics import METRIC_LABELS, compute_metrics
from koa_kit.error_analysis.predictions import grade_column, similarities
from koa_kit.error_analysis.statistics.seeds import SeedTables, compare_arms
from koa_kit.errors import KoaError

EXPECTED = DecisionRule(rule="expected_grade")
DECISIONS = {"most likely": DecisionRule(), "median": DecisionRule(rule="median_grade"), "expected, rounded": EXPECTED}
"""None has anything fitted, so all may be judged on any knees the model was not trained on."""

VALUE, CHANGE = "{:.3f} ({:.3f} to {:.3f})", "{:+.3f} ({:+.3f} to {:+.3f})"
RULE_METRICS = ("accuracy", "qwk", "mae", "kl1_recall", "kl1_precision")
MOVED = " with a KL1 bias"
EQUAL_METRICS = ("kl1_recall", "accuracy", "qwk", "kl1_precision")


def compare_rules(
    predictions: pd.DataFrame, decisions: Mapping[str, DecisionRule] = DECISIONS, **options
) -> pd.DataFrame:
    """One model's knees graded by each decision, compared with the first on the same draws of patients.

    If the probabilities are right, each rule has the lowest expected cost of one kind: the most likely grade of being
    wrong, the median of the distance from the reader's grade (MAE), the mean of its square, which QWK punishes. So the
    rules part where a knee is torn, and a knee torn between KL0 and KL2 becomes a KL1.

    Predictions are those before `flip_averaged`, see `apply_rule`. Options and what comes back are those of
    `compare_arms`, ``row`` being the name of the decision and the metrics by default `RULE_METRICS`.
    """
    rows = {name: {0: apply_rule(predictions, decision)} for name, decision in decisions.items()}
    return compare_arms(rows, **{"metrics": RULE_METRICS} | options)


def rules_in_words(rules: pd.DataFrame) -> pd.DataFrame:
    """What `compare_rules` found, as texts to read: a line per rule, then a line for what each changes from the first.

    The texts look like ``0.684 (0.657 to 0.714)``, one column per metric, named as in `METRIC_LABELS`.
    """

    def texts(form: str, *columns: str) -> pd.DataFrame:
        numbers = rules[list(columns)].itertuples(index=False)
        said = ["cannot be told" if pd.isna(row[0]) else form.format(*row) for row in numbers]
        return rules.assign(said=said).pivot(index="row", columns="metric", values="said").loc[names, metrics]

    names, metrics = rules["row"].unique(), rules["metric"].unique()
    changes = texts(CHANGE, "difference", "difference_low", "difference_high").iloc[1:]
    lines = pd.concat([texts(VALUE, "value", "low", "high"), changes.rename("{}: difference".format)])
    return lines.rename(columns=METRIC_LABELS).rename_axis(index=None, columns=None)


def bias_for_recall(predictions: pd.DataFrame, recall: float) -> float:
    """KL1 bias at which the most likely grade finds the share `recall` of KL1 knees, as nearly as these knees allow."""
    curve = kl1_curve(similarities(predictions), grade_column(predictions), DecisionRule())
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
    **options,
) -> pd.DataFrame:
    """A row compared with a rival whose KL1 logit got a bias, so that both find about as many KL1 knees.

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
        The same of other patients, on which both are scored; it holds the same seeds of the rival.
    metrics, options
        As in `compare_arms`, and so is what comes back: the rival with its bias is the baseline.
    """
    for rows in (chosen_on, judged_on):
        if missing := {row, rival} - set(rows):
            raise KoaError(f"There is no row {min(missing)!r}.", remedy=f"Choose from {', '.join(rows)}.")
    if set(chosen_on[rival]) != set(judged_on[rival]):
        raise KoaError("A bias is chosen for each training that is judged.", where=rival, remedy="Give the same seeds.")
    recall = float(np.mean([compute_metrics(table)["kl1_recall"] for table in chosen_on[row].values()]))
    moved = {
        number: apply_rule(table, DecisionRule(kl1_bias=bias_for_recall(chosen_on[rival][number], recall)))
        for number, table in judged_on[rival].items()
    }
    return compare_arms({rival + MOVED: moved, row: judged_on[row]}, metrics=metrics, **options)
