"""A trained model that comes with the kit, and how a run becomes one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from koa_kit import paths
from koa_kit.cohort import Cohort
from koa_kit.configuration import write_yaml
from koa_kit.data.splits import HOLDOUT, set_aside
from koa_kit.engine.run_folder import write_sums
from koa_kit.error_analysis.calibration import temperature
from koa_kit.error_analysis.predictions import read_predictions
from koa_kit.errors import KoaError
from koa_kit.model import read_record, round_to_half, save_checkpoint
from koa_kit.pretrained.card import model_card
from koa_kit.pretrained.names import DEFAULT, pretrained_names
from koa_kit.training.run import Run, load_run, write_predictions


def load_pretrained(name: str = DEFAULT, *, device: str | None = None) -> Run:
    """Run of a trained model that comes with the kit: model, history, predictions of val; no pixels.

    The folder also holds predictions of the holdout and a model card, ``README.md``. Without a `device`, such as "cpu"
    or "cuda", the model lies on a GPU if there is one. Raises `KoaError` if `name` is none of `pretrained_names`, or
    the weights of the towers it builds on are not installed.

    Examples
    --------
    >>> run = load_pretrained()  # doctest: +SKIP
    >>> run.grade(images, sides)  # doctest: +SKIP
    """
    if name not in pretrained_names():
        raise KoaError(
            f"No trained model {name!r} comes with the kit.",
            remedy=f"Choose from {', '.join(pretrained_names())}, or load a run of your own with load_run(folder).",
        )
    return load_run(paths.PACKAGE / "pretrained" / name, device=device)


def package_run(folder: str | Path, target: str | Path, cohort: Cohort) -> Run:
    """Finished run as others may load it: calibrated, its answers averaged over both views, with a model card.

    One temperature, fitted on val, becomes part of the model's scale; no grade changes by it. Averaging logits over a
    knee and its mirror image makes the grade the same for both. Matrices and kernels are rounded to float16, half the
    size. All predictions are made anew from that model.

    Parameters
    ----------
    folder
        Of a run with prompts and a softmax link, and with patients set aside for a holdout.
    target
        Folder to write; nothing of an earlier model must be in it.
    cohort
        The knees it was trained on.

    Raises
    ------
    KoaError
        If the run is of other knees, has no holdout, or `target` holds a model already.
    """
    run, target, record = load_run(folder, device="cpu"), Path(target), read_record(folder)
    model, config = run.model, run.config
    if record.get("cohort_fingerprint") != cohort.fingerprint:
        raise KoaError("The run was trained on other knees.", where=f"{folder}: {record.get('cohort_fingerprint')}")
    if not config.holdout or model.spec.head != "prompts" or model.spec.output != "softmax":
        raise KoaError(
            "Only a run with prompts, a softmax and a holdout is packaged.",
            where=folder,
            remedy="Train with --set holdout=0.2.",
        )
    if (target / "model.json").exists():
        raise KoaError("There is a model here already.", where=target, remedy="Choose another folder.")
    parted = set_aside(cohort, config.holdout)
    model.spec = replace(model.spec, flip_pooling=True)
    round_to_half(model)
    before, _ = run.predict(parted.split("val"))
    t = temperature(before)
    with torch.no_grad():
        model.logit_scale.copy_(torch.log(model.scale) - math.log(t))
    facts = {name: record[name] for name in ("seed", "method", "cohort", "cohort_fingerprint", "epoch")}
    save_checkpoint(model, target, half=True, **facts, temperature_fitted_on_val=t)
    write_yaml(config, target / "config.yaml")
    with paths.replacing(target / "history.csv") as path:
        run.history.to_csv(path, index=False)
    for split, stem in ((HOLDOUT, f"{HOLDOUT}-"), ("val", "")):
        write_predictions(target, *run.predict(parted.split(split)), stem)
    write_sums(target)
    packaged = load_run(target, device="cpu")
    aside = read_predictions(target / f"{HOLDOUT}-predictions.parquet")
    with paths.replacing(target / "README.md") as path:
        path.write_text(model_card(packaged, aside, parted), encoding="utf-8")
    return packaged
