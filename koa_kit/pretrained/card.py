"""The card of a trained model: what it is, on which knees, how good, where it fails, and what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data import load_manifest
from koa_kit.error_analysis.decisions.rules import compare_rules, rules_in_words
from koa_kit.error_analysis.metrics import METRIC_LABELS, METRICS, confusion, per_grade
from koa_kit.error_analysis.statistics.intervals import metric_intervals
from koa_kit.grades import GRADES
from koa_kit.model import read_record
from koa_kit.training.run import Run
from koa_kit.training.stability import augmentation_stability

SPLITS = {"val": "val (chose the epoch and the temperature)", "holdout": "holdout (nothing chosen on it)"}


def model_card(run: Run, holdout: pd.DataFrame, cohort: Cohort) -> str:
    """Markdown of the card of a run; every number in it is computed from its predictions of val and of the holdout.

    The cohort has splits "train", "val" and "holdout". The words stand in ``card.md``.
    """
    from jinja2 import StrictUndefined, Template

    tables, manifest, source = {"val": run.predictions, "holdout": holdout}, load_manifest(), ""
    if cohort.name in manifest:
        source = f"{manifest[cohort.name].citation.strip()} Licence: {manifest[cohort.name].licence.strip()} "
    counts, (height, width) = confusion(holdout), run.model.spec.image_shape
    words = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return Template(words, undefined=StrictUndefined, keep_trailing_newline=True).render(
        name=run.folder.name,
        record=read_record(run.folder),
        config=run.config,
        height=height,
        width=width,
        source=source,
        cohort=cohort,
        scores=_scores(tables),
        rules=rules_table(tables),
        grades={split: _grades(table) for split, table in tables.items()},
        groups=_groups(holdout),
        worst=counts.where(~np.eye(5, dtype=bool), 0).stack().sort_values(ascending=False).head(3),
        kl1=counts.loc[1] / counts.loc[1].sum(),
        far=(abs(holdout["kl"] - holdout["pred"]) >= 2).mean(),
        unstable=augmentation_stability(run.model, cohort.split("val"))["augmentation_disagreement"],
    )


def _scores(tables: dict[str, pd.DataFrame]) -> str:
    texts = [_intervals(table, METRICS) for table in tables.values()]
    rows = [[METRIC_LABELS[metric], *(of[metric] for of in texts)] for metric in METRICS]
    return _markdown(["", *(SPLITS[name] for name in tables)], rows)


def rules_table(tables: dict[str, pd.DataFrame]) -> str:
    """Markdown table of one model's predictions of each split under each rule, and what changes from the first."""
    rules = {name: rules_in_words(compare_rules(table)) for name, table in tables.items()}
    rows = [[name, *texts] for name, words in rules.items() for texts in words.itertuples()]
    return _markdown(["knees", "rule", *next(iter(rules.values())).columns], rows)


def _grades(table: pd.DataFrame) -> str:
    metrics = ("recall", "precision", "f1")
    texts = _intervals(table, [f"kl{kl}_{metric}" for kl in GRADES for metric in metrics])
    rows = [
        [row["grade"], int(row["support"]), *(texts[f"kl{kl}_{metric}"] for metric in metrics)]
        for kl, row in per_grade(table).iterrows()
    ]
    return _markdown(["grade", "knees", "recall", "precision", "F1"], rows)


def _groups(table: pd.DataFrame) -> str:
    groups = {"right knees": table["side"] == "R", "left knees": table["side"] == "L"}
    groups["photometrically inverted films"] = table["inverted"].astype(bool)
    rows = [
        [name, int(chosen.sum()), *_intervals(table[chosen], ["accuracy", "qwk"]).values()]
        for name, chosen in groups.items()
        if chosen.any()
    ]
    return _markdown(["", "knees", "accuracy", "QWK"], rows)


def _intervals(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """Metric to its value and 95 % interval, in words."""
    return {
        row.metric: "cannot be told" if np.isnan(row.value) else f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        for row in metric_intervals(table, metrics=metrics).itertuples()
    }


def _markdown(heads: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Markdown table; columns of whole numbers stand to the right."""
    rule = ["---:" if isinstance(cell, int) else "---" for cell in rows[0]]
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (heads, rule, *rows)]
    return "\n".join(lines).replace("|  |", "| |")
