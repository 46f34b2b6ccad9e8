"""The results page and the findings in docs: tables written from what was published, in a text written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from koa_kit import paths
from koa_kit.comparison.source import GridSource, published_grid
from koa_kit.comparison.tables import interval_text
from koa_kit.data.splits import HOLDOUT, split_stem
from koa_kit.error_analysis.decisions.decision import apply_rule
from koa_kit.error_analysis.decisions.rules import DECISIONS, EQUAL_METRICS, MOVED, compare_at_recall, compare_rules
from koa_kit.error_analysis.metrics import METRIC_LABELS
from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.error_analysis.statistics.conclusions import draw_conclusions
from koa_kit.error_analysis.statistics.intervals import metric_intervals
from koa_kit.error_analysis.statistics.seeds import ARM_METRICS, compare_arms
from koa_kit.errors import KoaError
from koa_kit.pretrained.card import rules_table
from koa_kit.pretrained.names import DEFAULT

PAGES = ("results/README.md", "docs/findings.md")
"""Texts of a clone that hold such tables."""

PUBLISHED = (
    ("ResNet-34, cross-entropy (Chen's code)", "64.0", ".751", ".480", ".12"),
    ("VGG-19, ordinal loss (Chen 2019)", "69.6", ".841", ".360", ".18"),
    ("CLIP / CLIP-KOA (2025)", "69.5 / 71.9", "", "", ""),
    ("ConvNeXt-T ensembles: CE / CORN / CDW-CE", "68.7 / 70.4 / 65.8", ".840 / .823 / .844", ".361 / .374 / .371",
     ".31 / .10 / .47"),
)  # fmt: skip
"""Model, then accuracy %, QWK, MAE and KL1 recall, as their authors give them for the official test split."""

SHOWN = ("accuracy", "balanced_accuracy", "qwk", "mae", "kl1_recall", "kl1_precision", "kl1_f1", "macro_f1", "ece",
         "flip_disagreement")  # fmt: skip
CHECKED = ("accuracy", "qwk", "kl1_recall", "ece")
"""Columns of a grid's table on val, and of the shorter one on the development test."""


def model_table(name: str = DEFAULT) -> str:
    """Markdown table of a packaged model beside published ones; its own lines are computed from its predictions."""
    lines = []
    for knees, predictions in _packaged(name).items():
        scores = metric_intervals(predictions, metrics=("accuracy", "qwk", "mae", "kl1_recall")).set_index("metric")
        texts = [interval_text(scores.loc["accuracy"] * 100, ".1f"), *_texts(scores, ("qwk", "mae", "kl1_recall"))]
        lines.append([f"`{name}`", f"{knees}, {len(predictions):,}", *texts])
    lines += [[model, "official test, 1,656", *scores] for model, *scores in PUBLISHED]
    return _markdown(["model", "knees", "accuracy %", "QWK", "MAE", "KL1 recall"], lines)


def rule_scores(name: str = DEFAULT) -> str:
    """Markdown table of a packaged model's answers under each rule."""
    return rules_table(_packaged(name))


def model_difference(other: str, name: str = DEFAULT) -> str:
    """Markdown table of what a model in ``results`` scores, and its differences from a packaged one, by rule."""
    lines, others = [], _both_splits(paths.resource("results") / other)
    for knees, predictions in _packaged(name).items():
        for rule in ("most likely", "median"):
            tables = {name: predictions, other: others[knees]}
            arms = {model: {0: apply_rule(table, DECISIONS[rule])} for model, table in tables.items()}
            scores = _of(compare_arms(arms, metrics=CHECKED), other)
            lines.append([knees, rule, f"`{other}`", *_texts(scores, CHECKED)])
            lines.append([knees, rule, f"less `{name}`", *_texts(_differences(scores), CHECKED, "+.3f")])
    return _markdown(["knees", "rule", "", *(METRIC_LABELS[metric] for metric in CHECKED)], lines)


def _packaged(name: str) -> dict[str, pd.DataFrame]:
    return _both_splits(paths.PACKAGE / "pretrained" / name)


def _both_splits(folder: Path) -> dict[str, pd.DataFrame]:
    """Predictions of a model that was packaged: of the development test, and of val."""
    files = {"development test": f"{split_stem(folder, HOLDOUT)}predictions.parquet", "val": "predictions.parquet"}
    return {knees: read_predictions(folder / file) for knees, file in files.items()}


def _grid(name: str) -> GridSource:
    """A published grid as far as it was trained, with the arms of the one it builds on."""
    grid = published_grid(name, whole=False)
    return grid.with_base(published_grid(grid.preset.base)) if grid.preset.base_arms else grid


def grid_scores(name: str, split: str) -> str:
    """Markdown table of a published grid: mean over trainings ± their standard deviation, one line per arm."""
    grid, on_val = _grid(name), split == "val"
    arms, metrics = (grid.val, SHOWN) if on_val else (grid.holdout, CHECKED)
    table = compare_arms(arms, baseline=grid.preset.baseline, metrics=metrics, draws=2)
    cost = grid.cells.groupby("row")[["augmentation_variance", "seconds"]].median()
    heads = ["row", "trainings", *(metric.replace("_", " ") for metric in metrics)]
    heads += ["augmentation variance", "seconds"] * on_val
    lines = []
    for arm, seeds in arms.items():
        scores = _of(table, arm)
        texts = [_with_deviation(scores.loc[metric]) for metric in metrics]
        if on_val:
            variance, seconds = cost.loc[arm] if arm in cost.index else (float("nan"), 0)
            texts += ["–" if pd.isna(variance) else f"{variance:.3f}", f"{seconds:.0f}"]
        lines.append([arm, str(len(seeds)), *texts])
    return _markdown(heads, lines, ruler="---:")


def grid_words(name: str, split: str) -> str:
    """What a published grid supports, as a list of sentences: accuracy, QWK and KL1 recall beside its baseline."""
    grid = _grid(name)
    rows = grid.val if split == "val" else grid.holdout
    table = compare_arms(rows, baseline=grid.preset.baseline)
    parts = [draw_conclusions(table, metric) for metric in ARM_METRICS]
    return "\n\n".join("\n".join([said[0], "", *(f"- {sentence}" for sentence in said[1:])]) for said in parts)


def equal_recall(name: str, *arms: str) -> str:
    """Markdown table of arms beside the grid's baseline at their KL1 recall: biases from val, scores of development."""
    grid, lines = _grid(name), []
    for arm in arms:
        table = compare_at_recall(arm, grid.preset.baseline, chosen_on=grid.val, judged_on=grid.holdout)
        for shown in (arm, grid.preset.baseline + MOVED):
            lines.append([shown, *_texts(_of(table, shown), EQUAL_METRICS)])
        lines.append(["difference", *_texts(_differences(_of(table, arm)), EQUAL_METRICS, "+.3f")])
    return _markdown(["row", *(METRIC_LABELS[metric] for metric in EQUAL_METRICS)], lines)


def findings() -> str:
    """Markdown table of the main comparisons on the development test, each row a difference with its interval."""
    sides, ordinal = _grid("sides-cpu"), _grid("ordinal-cpu")
    flips = compare_arms(sides.holdout, baseline=sides.preset.baseline)
    losses = compare_arms(ordinal.holdout, baseline=ordinal.preset.baseline)
    moved = compare_at_recall(
        "cdw-ce", ordinal.preset.baseline, chosen_on=ordinal.val, judged_on=ordinal.holdout, metrics=ARM_METRICS
    )
    rules = compare_rules(_packaged(DEFAULT)["development test"], metrics=ARM_METRICS)
    shown = [
        ("Symmetry Loss", "a random flip", flips, "symmetry"),
        ("Symmetry and Consistency Loss (logits, squared)", "a random flip", flips, "symmetry+consistency"),
        ("every knee shown as a right one", "a random flip", flips, "canonical-side"),
        ("class weights", "none", losses, "class-weights"),
        ("CDW-CE", "cross-entropy", losses, "cdw-ce"),
        ("CDW-CE", "cross-entropy with a bias on KL1, at the same recall", moved, "cdw-ce"),
        ("the median grade of the same answers", "the likeliest", rules, "median"),
        ("their mean, rounded", "the likeliest", rules, "expected, rounded"),
    ]
    lines = []
    for this, instead, table, arm in shown:
        gaps = _differences(_of(table, arm))
        points = {metric: interval_text(gaps.loc[metric] * 100, "+.1f") for metric in ("accuracy", "kl1_recall")}
        lines.append([this, instead, points["accuracy"], *_texts(gaps, ["qwk"], "+.3f"), points["kl1_recall"]])
    return _markdown(["this", "instead of", "accuracy, points", "QWK", "KL1 recall, points"], lines)


WRITERS: dict[str, Callable[..., str]] = {
    "model": model_table,
    "rules": rule_scores,
    "beside": model_difference,
    "grid": grid_scores,
    "words": grid_words,
    "equal-recall": equal_recall,
    "findings": findings,
}


def filled(text: str) -> str:
    """`text` with everything between ``<!-- table: NAME ARGUMENTS -->`` and ``<!-- end -->`` written anew.

    Raises
    ------
    KoaError
        If a mark names no table.
    """

    def write(found: re.Match) -> str:
        name, *arguments = found["what"].split()
        if name not in WRITERS:
            raise KoaError(f"There is no table {name!r}.", where=found[0], remedy=f"Choose from {', '.join(WRITERS)}.")
        return f"<!-- table: {found['what']} -->\n\n{WRITERS[name](*arguments)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (?P<what>[^>]*?) -->.*?<!-- end -->", write, text, flags=re.DOTALL)


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]], ruler: str = "---") -> str:
    head = "|".join(f" {text} " if text else " " for text in heads)
    rulers = " | ".join(["---"] + [ruler] * (len(heads) - 1))
    return "\n".join([f"|{head}|", f"| {rulers} |", *(f"| {' | '.join(texts)} |" for texts in lines)])


def _of(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    return table[table["row"] == arm].set_index("metric")


def _texts(scores: pd.DataFrame, metrics: Sequence[str], form: str = ".3f") -> list[str]:
    return [interval_text(scores.loc[metric], form) for metric in metrics]


def _with_deviation(row: pd.Series) -> str:
    spread = "" if pd.isna(row["seed_sd"]) else f" ± {row['seed_sd']:.3f}"
    return f"{row['value']:.3f}{spread}"


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    """The differences in a table of `compare_arms`, under the names that values have there."""
    return table[["difference", "difference_low", "difference_high"]].set_axis(["value", "low", "high"], axis=1)


if __name__ == "__main__":
    for page in PAGES:
        path = paths.resource("results").parent / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
