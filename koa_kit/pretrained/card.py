"""The card of a trained model: what it is, on which knees, how good, where it fails, and what it is not for."""

from __future__ import annotations

import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.data import load_manifest
from koa_kit.error_analysis.decisions.rules import compare_rules, rules_in_words
from koa_kit.error_analysis.metrics import METRIC_LABELS, METRICS, confusion, per_grade
from koa_kit.error_analysis.statistics.intervals import metric_intervals
from koa_kit.model import read_record
from koa_kit.training.run import Run
from koa_kit.training.stability import augmentation_stability

SPLITS = {"val": "val (chose the epoch and the temperature)", "holdout": "holdout (nothing chosen on it)"}
GRADE_METRICS = ("recall", "precision", "f1")


def model_card(run: Run, holdout: pd.DataFrame, cohort: Cohort) -> str:
    """Markdown of the card; every number in it is computed from the predictions.

    Parameters
    ----------
    run
        With its predictions of val.
    holdout
        Predictions of the patients set aside.
    cohort
        Knees with splits "train", "val" and "holdout".
    """
    tables = {"val": run.predictions, "holdout": holdout}
    steady = augmentation_stability(run.model, cohort.split("val"))
    parts = [
        _about(run, cohort),
        "## How good\n\nIntervals are 95 %, by bootstrap over patients.\n\n" + _scores(tables),
        "## The same answers, another rule\n\nThe scores above take the most likely grade. The median of the five "
        "probabilities, or their mean, rounded, changes none of them and fits nothing. Differences are from the most "
        "likely grade, of the same knees.\n\n" + rules_table(tables),
        "## Grade by grade\n\n" + "\n\n".join(_grades(name, table) for name, table in tables.items()),
        "## By side, and by exposure\n\n" + _groups(holdout),
        "## How it fails\n\n" + _failures(holdout, steady),
        _not_for(),
    ]
    return "\n\n".join(parts) + "\n"


def _about(run: Run, cohort: Cohort) -> str:
    record, config, manifest = read_record(run.folder), run.config, load_manifest()
    source = ""
    if cohort.name in manifest.names:
        source = f"{manifest[cohort.name].citation.strip()} Licence: {manifest[cohort.name].licence.strip()} "
    sentences = [texts[0] for texts in record["spec"].prompts.prompts]
    height, width = run.model.spec.image_shape
    counts = {name: cohort.split(name) for name in ("train", "val", "holdout")}
    lines = [
        f"# {run.folder.name}",
        "Grades a knee radiograph on the Kellgren-Lawrence scale by its similarity to five sentences "
        "(after CLIP-KOA, arXiv 2504.19443; not its authors' model).",
        "## What it is",
        f"- Towers {config.towers}, the image tower fine-tuned, the text tower as published; {width} x {height} px, "
        f"crop {config.crop!r}, normalised {config.normalize!r}.",
        f"- Trained by method {config.method!r} with loss {config.loss!r}, {config.epochs} epochs of "
        f"{config.batch_size} knees a step, seed {config.seed}; epoch {record['epoch']} was kept by its QWK on val. "
        "All choices are in `config.yaml`.",
        f"- Its answer is the mean of the logits of the knee and of its mirror image, divided by a temperature of "
        f"{record['temperature_fitted_on_val']:.3f} that was fitted on val.",
        "- Prompts: " + "; ".join(f"KL{grade} “{text}”" for grade, text in enumerate(sentences)) + ".",
        "## Data",
        f"{source}Fingerprint {cohort.fingerprint}. "
        + "; ".join(
            f"{name} {len(part):,} knees of {part.table['patient'].nunique():,} patients"
            for name, part in counts.items()
        )
        + ". No patient is in two of them. The official test split was not opened.",
    ]
    return "\n\n".join(lines).replace("\n\n- ", "\n- ")


def _scores(tables: dict[str, pd.DataFrame]) -> str:
    told = {name: metric_intervals(table).set_index("metric") for name, table in tables.items()}
    lines = ["| | " + " | ".join(SPLITS[name] for name in tables) + " |", "| --- |" + " --- |" * len(tables)]
    for metric in METRICS:
        cells = [_with_interval(told[name].loc[metric]) for name in tables]
        lines.append(f"| {METRIC_LABELS[metric]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rules_table(tables: dict[str, pd.DataFrame]) -> str:
    """Markdown table of one model's predictions of each split under each rule, and what changes from the first."""
    told = {name: rules_in_words(compare_rules(table)) for name, table in tables.items()}
    heads = next(iter(told.values())).columns
    lines = [f"| knees | rule | {' | '.join(heads)} |", "| --- | --- |" + " --- |" * len(heads)]
    for name, rules in told.items():
        lines += [f"| {name} | {rule} | {' | '.join(texts)} |" for rule, *texts in rules.itertuples()]
    return "\n".join(lines)


def _with_interval(row: pd.Series) -> str:
    if row["value"] != row["value"]:
        return "cannot be told"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _grades(name: str, table: pd.DataFrame) -> str:
    grades, told = (
        per_grade(table),
        metric_intervals(table, metrics=[f"kl{kl}_{metric}" for kl in range(5) for metric in GRADE_METRICS]).set_index(
            "metric"
        ),
    )
    lines = [f"On {name}:\n", "| grade | knees | recall | precision | F1 |", "| --- | ---: | --- | --- | --- |"]
    for kl, row in grades.iterrows():
        cells = [_with_interval(told.loc[f"kl{kl}_{metric}"]) for metric in GRADE_METRICS]
        lines.append(f"| {row['grade']} | {int(row['support'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _groups(table: pd.DataFrame) -> str:
    groups = {"right knees": table["side"] == "R", "left knees": table["side"] == "L"}
    groups["photometrically inverted films"] = table["inverted"].astype(bool)
    lines = ["On the holdout:\n", "| | knees | accuracy | QWK |", "| --- | ---: | --- | --- |"]
    for name, chosen in groups.items():
        if chosen.any():
            told = metric_intervals(table[chosen], metrics=["accuracy", "qwk"]).set_index("metric")
            cells = " | ".join(_with_interval(told.loc[metric]) for metric in ("accuracy", "qwk"))
            lines.append(f"| {name} | {int(chosen.sum())} | {cells} |")
    return "\n".join(lines)


def _failures(table: pd.DataFrame, steady: dict[str, float]) -> str:
    counts = confusion(table)
    wrong = counts.where(~pd.DataFrame([[i == j for j in range(5)] for i in range(5)]), 0).stack()
    worst = wrong.sort_values(ascending=False).head(3)
    far = float((abs(table["kl"] - table["pred"]) >= 2).mean())
    kl1 = counts.loc[1] / counts.loc[1].sum()
    lines = [
        "- Most frequent mistakes on the holdout: "
        + "; ".join(f"KL{kl} called KL{pred} ({int(knees)} knees)" for (kl, pred), knees in worst.items())
        + ".",
        f"- KL1 knees are called KL0 in {kl1[0]:.0%}, KL1 in {kl1[1]:.0%}, KL2 in {kl1[2]:.0%}.",
        f"- {far:.1%} of knees are off by two grades or more.",
        f"- Moved, turned and re-exposed a little (4 views), {steady['augmentation_disagreement']:.1%} of val knees do "
        "not keep one grade.",
    ]
    return "\n".join(lines)


def _not_for() -> str:
    return (
        "## What it is not for\n\n**Not for clinical use.** For teaching and research. It has seen one study's knees "
        "(the Osteoarthritis Initiative: people aged 45 to 79 in the United States, with or at risk of knee "
        "osteoarthritis), one crop and one way of taking the film; on others its scores are unknown. Readers disagree "
        "about KL1, and a model trained on one reading learns that reading. Differences by age, sex or ethnicity were "
        "not measured: the data set does not tell them."
    )
