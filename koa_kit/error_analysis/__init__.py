"""Where is it wrong, and why? Everything starts from a predictions table; no torch, no GPU, no images needed."""

from importlib import import_module

from koa_kit.error_analysis.calibration import calibrated, expected_calibration_error, reliability, temperature
from koa_kit.error_analysis.ceiling import beside_ceiling, ceiling_figure, consensus_posterior
from koa_kit.error_analysis.decisions.conformal import set_table
from koa_kit.error_analysis.decisions.curves import best_thresholds, kl1_curve, kl1_point, reject_curve
from koa_kit.error_analysis.decisions.decide import Decision, decide, decided
from koa_kit.error_analysis.decisions.figures import decision_figure, reject_figure, set_figure
from koa_kit.error_analysis.decisions.rules import compare_rules, rules_in_words
from koa_kit.error_analysis.figures import (
    comparison_figure,
    confusion_figure,
    flip_figure,
    kl1_figure,
    recall_figure,
    reliability_figure,
    similarity_figure,
)
from koa_kit.error_analysis.gallery import confused, gallery_figure
from koa_kit.error_analysis.label_issues import suspects, unstable
from koa_kit.error_analysis.metrics import METRIC_LABELS, METRICS, confusion, metrics, per_grade, sub_confusion
from koa_kit.error_analysis.predictions import (
    check_predictions,
    flip_averaged,
    probabilities,
    read_predictions,
    similarities,
)
from koa_kit.error_analysis.robustness import steadiness, steadiness_figure
from koa_kit.error_analysis.statistics.comparison import compare, mcnemar, paired_difference
from koa_kit.error_analysis.statistics.conclusions import outcome, verdicts
from koa_kit.error_analysis.statistics.equal_recall import compare_at_recall
from koa_kit.error_analysis.statistics.intervals import intervals
from koa_kit.error_analysis.statistics.seed_figures import recall_against_accuracy_figure, rows_figure
from koa_kit.error_analysis.statistics.seeds import compare_rows, holm, seed_intervals, seed_values

# These need ipywidgets or plotly, which come with the notebooks' extra.
_HOMES = {
    "similarity_scatter": "scatter",
}
__all__ = [
    "METRICS",
    "METRIC_LABELS",
    "Decision",
    "beside_ceiling",
    "best_thresholds",
    "calibrated",
    "ceiling_figure",
    "check_predictions",
    "compare",
    "compare_at_recall",
    "compare_rows",
    "compare_rules",
    "comparison_figure",
    "confused",
    "confusion",
    "confusion_figure",
    "consensus_posterior",
    "decide",
    "decided",
    "decision_figure",
    "expected_calibration_error",
    "flip_averaged",
    "flip_figure",
    "gallery_figure",
    "holm",
    "intervals",
    "kl1_curve",
    "kl1_figure",
    "kl1_point",
    "mcnemar",
    "metrics",
    "outcome",
    "paired_difference",
    "per_grade",
    "probabilities",
    "read_predictions",
    "recall_against_accuracy_figure",
    "recall_figure",
    "reject_curve",
    "reject_figure",
    "reliability",
    "reliability_figure",
    "rows_figure",
    "rules_in_words",
    "seed_intervals",
    "seed_values",
    "set_figure",
    "set_table",
    "similarities",
    "similarity_figure",
    "similarity_scatter",
    "steadiness",
    "steadiness_figure",
    "sub_confusion",
    "suspects",
    "temperature",
    "unstable",
    "verdicts",
]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"koa_kit.error_analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
