"""Where is the model wrong, and why? Everything starts from a predictions table; no torch, no GPU, no images needed."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "calibration": ["calibrated", "reliability", "temperature"],
        "ceiling": ["compare_with_ceiling", "ceiling_figure", "consensus_posterior"],
        "decisions.conformal": ["conformal_table"],
        "decisions.curves": ["kl1_curve", "kl1_point", "reject_curve"],
        "decisions.decision": ["DecisionRule", "decide", "apply_rule"],
        "decisions.figures": ["decision_figure", "conformal_figure"],
        "decisions.rules": ["compare_at_recall", "compare_rules", "rules_in_words"],
        "figures": [
            "confusion_figure",
            "flip_figure",
            "kl1_figure",
            "recall_figure",
            "reliability_figure",
            "similarity_figure",
            "similarity_scatter",
        ],
        "gallery": ["confused", "gallery_figure"],
        "label_issues": ["find_label_issues", "unstable"],
        "metrics": ["METRICS", "METRIC_LABELS", "compute_metrics", "confusion", "per_grade"],
        "predictions": ["check_predictions", "flip_averaged", "probabilities", "read_predictions", "similarities"],
        "robustness": ["prediction_robustness", "robustness_figure"],
        "statistics.comparison": ["holm", "mcnemar"],
        "statistics.conclusions": ["outcome", "draw_conclusions"],
        "statistics.intervals": ["metric_intervals"],
        "statistics.seed_figures": ["comparison_figure", "recall_against_accuracy_figure", "arms_figure"],
        "statistics.seeds": ["compare", "compare_arms", "seed_intervals", "seed_values"],
    },
)
