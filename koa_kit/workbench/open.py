"""A workbench of a run: its predictions, and whatever else of it is at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from koa_kit.attribution.maps import explain
from koa_kit.cohort import Cohort
from koa_kit.data import find_dataset, load_cohort, load_followup, load_manifest
from koa_kit.data.splits import split_stem
from koa_kit.error_analysis.gallery import image_finder
from koa_kit.error_analysis.predictions import read_embeddings, read_predictions
from koa_kit.errors import KoaError
from koa_kit.model import read_record
from koa_kit.pretrained.load import load_pretrained
from koa_kit.pretrained.names import pretrained_names
from koa_kit.training.run import Run, load_run
from koa_kit.workbench import Message, Workbench, workbench
from koa_kit.workbench.message import or_message
from koa_kit.workbench.places import log_of, predictions_of
from koa_kit.workbench.prompts.editor import PromptEditor
from koa_kit.workbench.prompts.encoder import PromptEncoder


def workbench_of(
    run: Run, predictions: pd.DataFrame, embeddings: np.ndarray | None = None, images: Cohort | None = None, **options
) -> Workbench | Message:
    """Workbench of a run's answers to some knees, with its words, its maps and, on phantoms, the true signs.

    Parameters
    ----------
    run
        Its model reads other words and explains its answers.
    predictions, embeddings
        Row for row, as `Run.predict` gives them.
    images
        Cohort that holds the knees; omitted, no radiographs and no maps.
    **options
        See `Workbench`; what is given here stands above what the run brings.
    """
    brought: dict = {"prompts": run.model.spec.prompts}
    if images is not None:
        find = image_finder(images, predictions)
        # the mean grey level of each radiograph, 0 to 255; before the editor, which carries the columns over
        predictions = predictions.assign(exposure=[float(find(knee).mean()) for knee in predictions["knee_id"]])
        brought |= {"explain": partial(explain, run.model), "masks": true_signs(images)}
    if embeddings is not None and run.model.spec.head == "prompts":
        brought["prompt_editor"] = PromptEditor(predictions, embeddings, PromptEncoder(run.model))
    if "followup" not in options:
        brought["followup"] = later_of(images)
    return workbench(predictions, images, embeddings=embeddings, **(brought | options))


def true_signs(images: Cohort) -> Callable[[str], dict[str, np.ndarray]] | None:
    """Function from a phantom's ``knee_id`` to its signs, name to bool ``(H, W)``; ``None`` for real knees."""
    if "draw_seed" not in images.table:
        return None
    from koa_kit.phantom import phantom_masks

    names = pd.Index(images.table["knee_id"].astype(str))

    @lru_cache(maxsize=64)
    def signs(knee: str) -> dict[str, np.ndarray]:
        found = phantom_masks(images.table.iloc[[names.get_loc(knee)]], images.images.shape[1])
        return {name: mask[0] for name, mask in found.items()}

    return signs


def later_of(images: Cohort | None, data_dir: str | os.PathLike | None = None) -> pd.DataFrame | None:
    """Later grades: the cohort's own columns, or else the follow-up tables of real knees where they are here."""
    if images is not None and "kl_12" in images.table:
        return images.table
    return load_followup(data_dir) if _is_here("oai-followup", data_dir) else None


@or_message
def open_run(
    source: str | os.PathLike,
    *,
    split: str = "val",
    data_dir: str | os.PathLike | None = None,
    log: str | os.PathLike | None = None,
    beside: str | os.PathLike | None = None,
) -> Workbench | Message:
    """Workbench of a run folder, of a model that comes with the kit, or of a predictions file alone.

    Where something is not at hand (the model, its embeddings, the radiographs), the rest works without, and says so.
    What cannot be opened at all becomes a message in the page, and an error under ``KOA_STRICT=1``.

    Parameters
    ----------
    source
        A run folder, a name out of `pretrained_names`, or the path of a ``predictions.parquet``.
    split
        "val", or "holdout" where the run set patients aside.
    data_dir
        Folder of the data sets; omitted, the usual place.
    log
        File of readers' reviews; omitted, ``verdicts.jsonl`` beside the run, or in the present folder for a model of
        the kit.
    beside
        Another run or predictions file of the same knees, which the matrix "change from the original" compares with.
    """
    known, path = str(source) in pretrained_names(), Path(source)
    baseline = None if beside is None else read_predictions(predictions_of(beside, split))
    if not known and path.is_file():
        return workbench(path, log=log_of(source, log), baseline=baseline)
    run = load_pretrained(str(source)) if known else load_run(path)
    predictions = read_predictions(predictions_of(source, split))
    vectors = run.folder / f"{split_stem(run.folder, split)}embeddings.npy"
    embeddings = read_embeddings(vectors, len(predictions)) if vectors.is_file() else None
    images = _images(run, predictions, data_dir)
    options = {"followup": later_of(images, data_dir), "log": log_of(source, log), "baseline": baseline}
    return workbench_of(run, predictions, embeddings, images, **options)


def _is_here(name: str, data_dir) -> bool:
    try:
        return find_dataset(name, data_dir) is not None
    except KoaError:
        return False


def _images(run: Run, predictions: pd.DataFrame, data_dir) -> Cohort | None:
    """The cohort the run was trained on, if it is at hand and holds these knees."""
    record, manifest = read_record(run.folder), load_manifest()
    name = str(record.get("cohort"))
    if name not in manifest or (manifest[name].access != "generated" and not _is_here(name, data_dir)):
        return None
    cohort = load_cohort(name, data_dir=data_dir)
    same = cohort.fingerprint == record.get("cohort_fingerprint")
    return cohort if same and set(predictions["knee_id"]) <= set(cohort.table["knee_id"]) else None
