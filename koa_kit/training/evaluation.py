"""Scoring a finished run on a split; the test split is a sealed envelope, and each opening is written down."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from koa_kit.data import load_cohort, load_manifest
from koa_kit.data.splits import EARLIER_NAMES, HOLDOUT, SEALED, set_aside
from koa_kit.engine.run_folder import one_run
from koa_kit.errors import KoaError
from koa_kit.model import read_record
from koa_kit.training.run import load_run, write_predictions
from koa_kit.training.views import Progress

OWN = {"val": "", HOLDOUT: f"{HOLDOUT}-"}
"""What stands before the names of a run's files, by the splits that it has scored itself."""


def evaluate_run(
    folder: str | Path,
    *,
    split: str = "val",
    dataset: str | None = None,
    final: bool = False,
    data_dir: str | Path | None = None,
    skip_refused: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Metrics of a run on one split with their intervals; predictions are kept in the run folder.

    Those of knees the run was not trained on, by their fingerprint, lie apart from its own.

    Parameters
    ----------
    folder
        Run folder.
    split
        "train", "val", "test", or "holdout" for the train patients a run has set aside.
    dataset
        Data set to score on; omitted, the one the run was trained on. A folder of one's own must be named again.
    final
        Must be set to open the test split. The opening is logged in ``openings.jsonl`` before the first knee is
        graded.
    data_dir, skip_refused, device, progress
        As in `load_cohort` and `predict`.

    Raises
    ------
    KoaError
        If the test split is asked for without `final`, or the split is not there.
    """
    from koa_kit.error_analysis.statistics.intervals import metric_intervals

    folder, split = Path(folder), EARLIER_NAMES.get(split, split)
    if split == SEALED and not final:
        raise KoaError(
            "The test split is for one final score, not for choosing.",
            where=folder,
            remedy="Choose on val; when everything is settled, add --final. The opening is logged.",
        )
    with one_run(folder):
        run, record = load_run(folder, device=device), read_record(folder)
        if not dataset and (dataset := record.get("cohort")) not in load_manifest():
            of = f"a folder called {dataset!r}" if dataset else "knees"
            what = f"The run was trained on {of} whose place it does not keep."
            raise KoaError(what, where=folder, remedy="Name it: --dataset FOLDER.")
        # all of it, as for training, since its fingerprint is of the whole; the sealed split is read on demand only
        splits = (split,) if split == SEALED else None
        cohort = load_cohort(dataset, data_dir=data_dir, splits=splits, skip_refused=skip_refused)
        own = cohort.fingerprint == record.get("cohort_fingerprint")
        if split in ("train", HOLDOUT):
            cohort = set_aside(cohort, run.config.holdout)
        cohort = cohort.split(split)
        if split == SEALED:
            opening = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "dataset": dataset,
                "knees": len(cohort),
            }
            with (folder / "openings.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(opening) + "\n")
        predictions, embeddings = run.predict(cohort, progress=progress)
    stem = OWN.get(split) if own else None
    if stem is None:
        label = re.sub(r"[^\w.-]+", "_", cohort.name)
        stem = f"{label}-{cohort.fingerprint[:8]}-{split}-"
    # of a run's own knees it has kept what it said when it was trained
    if not (folder / f"{stem}predictions.parquet").is_file() or stem not in OWN.values():
        write_predictions(folder, predictions, embeddings, stem)
    return metric_intervals(predictions)
