"""A published grid: what every trial said of every knee, without weights and without pixels, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.cohort import Cohort
from koa_kit.comparison.tables import CHOICES, TABLE, as_table, read_table, trial_row
from koa_kit.comparison.trial import Trial
from koa_kit.data.splits import EARLIER_NAMES, HOLDOUT, set_aside, split_stem
from koa_kit.error_analysis.predictions import IDENTITY, VIEWS, check_predictions, predictions_table, read_predictions
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.paths import replacing

PREDICTIONS = "predictions.parquet"
SIMILARITIES = [f"s{grade}{view}" for view in VIEWS for grade in GRADES]
_STORED = ["cell", "row", "seed", *IDENTITY, *SIMILARITIES]
# stored once each, which makes the file ten times smaller
_TEXTS = ("cell", "row", "knee_id", "patient", "side", "split", "file")


def publish_trials(
    trials: list[Trial], table: pd.DataFrame, folder: str | Path, target: str | Path, cohort: Cohort
) -> None:
    """Put the finished trials of a grid into `target`: ``cells.csv`` and ``predictions.parquet``.

    Other trials that are there already stay, so that a grid may grow over days and machines; the same are replaced.
    `trials`, `table` and `folder` are those of `run_grid`, `cohort` the knees, to measure how steady each model is.
    """
    from koa_kit.training.run import load_run
    from koa_kit.training.stability import augmentation_stability

    ended = table[table["status"] != "failed"]
    stability, predictions = {}, []
    for trial in (trial for trial in trials if trial.name in set(ended["cell"])):
        run, config = load_run(Path(folder) / trial.name, device="cpu"), trial.config
        val = set_aside(cohort, config.holdout).split("val")
        stability[trial.name] = augmentation_stability(run.model, val)
        answers = [run.predictions]
        if config.holdout:
            answers.append(read_predictions(run.folder / f"{split_stem(run.folder, HOLDOUT)}predictions.parquet"))
        kept = pd.concat(answers).assign(cell=trial.name, row=trial.arm, seed=config.seed)[_STORED]
        predictions.append(kept.astype(dict.fromkeys(SIMILARITIES, np.float32)))
    if not stability:
        raise KoaError("No trial of the grid is finished: there is nothing to publish.", where=folder)
    rows = as_table(ended.join(pd.DataFrame.from_dict(stability, orient="index"), on="cell", how="inner"))
    _merge(Path(target), rows, pd.concat(predictions))


def _merge(target: Path, rows: pd.DataFrame, predictions: pd.DataFrame) -> None:
    if (target / TABLE).is_file():
        earlier = read_table(target)
        if set(earlier["cohort_fingerprint"]) != set(rows["cohort_fingerprint"]):
            remedy = "Publish into another folder."
            raise KoaError("The published table is of other knees.", where=target, remedy=remedy)
        earlier = earlier[~earlier["cell"].isin(rows["cell"])]
        if len(earlier):
            rows = pd.concat([earlier, rows])
            there = _read_answers(target / PREDICTIONS)
            predictions = pd.concat([there[there["cell"].isin(earlier["cell"])], predictions])
    predictions = predictions.astype(dict.fromkeys(_TEXTS, str)).astype(dict.fromkeys(_TEXTS, "category"))
    with replacing(target / PREDICTIONS) as path:
        predictions.to_parquet(path, index=False, compression="zstd")
    with replacing(target / TABLE) as path:
        rows.sort_values("cell", kind="stable").to_csv(path, index=False)


def unpublished(trials: list[Trial], target: str | Path) -> list[Trial]:
    """Those of the trials that `target` does not hold with exactly these choices."""
    if not (Path(target) / TABLE).is_file():
        return trials
    there, asked = (
        table.set_index("cell")[list(CHOICES)]
        for table in (read_table(target), as_table([trial_row(trial, {}) for trial in trials]))
    )
    same = there.reindex(asked.index).eq(asked).all(axis=1)
    return [trial for trial in trials if not same[trial.name]]


def read_arms(folder: str | Path, split: str = "val") -> dict[str, dict[int, pd.DataFrame]]:
    """Arm of a published grid to seed to predictions table of one split.

    `folder` holds ``predictions.parquet``, as `koa ablate --publish` writes it; `split` is "val" or "holdout". Raises
    `KoaError` if there is nothing published, or nothing of this split.
    """
    path = Path(folder) / PREDICTIONS
    table = _read_answers(path).replace({"split": EARLIER_NAMES})
    known, split = sorted(table["split"].unique()), EARLIER_NAMES.get(split, split)
    if split not in known:
        remedy = f"Choose from {', '.join(known)}."
        raise KoaError(f"Nothing is published of a split {split!r}.", where=path, remedy=remedy)
    arms: dict[str, dict[int, pd.DataFrame]] = {}
    for (arm, seed), kept in table[table["split"] == split].groupby(["row", "seed"]):
        logits = kept[SIMILARITIES].to_numpy().reshape(-1, len(VIEWS), len(GRADES))
        arms.setdefault(arm, {})[int(seed)] = check_predictions(
            predictions_table(kept[list(IDENTITY)], logits), where=f"{path}: {arm}, seed {seed}"
        )
    return arms


def _read_answers(path: Path) -> pd.DataFrame:
    """Answers of every trial as `publish_trials` wrote them; `KoaError` if there are none, or the file is damaged."""
    if not path.is_file():
        remedy = "Write one: koa ablate NAME --publish FOLDER, see --help."
        raise KoaError("No grid is published here.", where=path, remedy=remedy)
    try:
        table = pd.read_parquet(path)
        table = table.astype(dict.fromkeys(_TEXTS, str) | dict.fromkeys(SIMILARITIES, np.float32))
        if not np.isfinite(table[SIMILARITIES].to_numpy()).all() or table["seed"].dtype.kind != "i":
            raise ValueError("a similarity or a seed is no number")
        if absent := [name for name in _STORED if name not in table]:
            raise ValueError(f"it lacks {', '.join(absent)}")
    except Exception as error:  # pyarrow raises several unrelated types for a damaged file
        remedy = "Restore it, or publish the grid anew."
        raise KoaError(f"The published answers cannot be read: {error}.", where=path, remedy=remedy) from error
    return table
