"""Predictions: what a model says about every knee and its mirror image, as the table all error analysis starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from koa_kit.cohort import Cohort
from koa_kit.engine.memory import tune_memory
from koa_kit.error_analysis.predictions import predictions_table
from koa_kit.losses import check_finite
from koa_kit.model import ClipKoa
from koa_kit.training.embedding_cache import Progress, resize_radiographs
from koa_kit.training.views import FeatureViews, ImageViews


def predict(
    model: ClipKoa, cohort: Cohort, *, canonical_side: bool = False, batch: int = 64, progress: Progress | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predictions and embeddings of every knee of a cohort.

    Parameters
    ----------
    model
        Trained model; used in evaluation mode.
    cohort
        Knees to grade.
    canonical_side
        Mirror every left knee first, for a model that was trained so.
    batch
        Knees a forward pass, each with its mirror image.
    progress
        Called with (done, total) knees.

    Returns
    -------
    predictions
        One row a knee: identity columns, ``s0…s4`` scaled similarities, ``p0…p4`` probabilities (softmax), the same
        for the mirror image with ``_flip``, ``pred`` and ``pred_flip`` the most similar grade of each.
    embeddings
        float32 ``(N, 2, D)`` unit vectors of the knee and its mirror image in the space of the prompts.

    Raises
    ------
    KoaError
        If a logit is not finite.
    """
    kind = FeatureViews if "image" in model.locked else ImageViews
    if model.logit_scale.device.type == "cpu":
        tune_memory()
    views = kind(model, cohort, canonical_side=canonical_side, progress=progress)
    training = model.training
    model.eval()
    logits, embeddings = [], []
    with torch.inference_mode():
        for rows in torch.arange(len(cohort)).split(batch):
            pair = views.features(rows)
            logits.append(torch.stack(model.from_features(*pair), 1).float().cpu())
            embeddings.append(torch.stack([model.image_embeddings(view) for view in pair], 1).float().cpu())
            if progress and kind is ImageViews:
                progress(int(rows[-1]) + 1, len(cohort))
    model.train(training)
    both = torch.cat(logits)
    check_finite(both.flatten(1), f"predictions of {cohort.name}")
    return predictions_table(cohort.table, both.numpy()), torch.cat(embeddings).numpy()


def grade_images(
    model: ClipKoa, images: np.ndarray, sides: Sequence[str], *, canonical_side: bool = False
) -> np.ndarray:
    """Probability of every grade, float32 ``(N, 5)``, for a few radiographs of no cohort; nothing is cached.

    Parameters
    ----------
    model
        Trained model; used in evaluation mode.
    images
        uint8 ``(N, H, H)``, bone bright.
    sides
        "R" or "L" of each; matters only with `canonical_side`.
    canonical_side
        Mirror every left knee first, for a model that was trained so.

    Raises
    ------
    KoaError
        If a logit is not finite.
    """
    training = model.training
    model.eval()
    with torch.inference_mode():
        towers, device = model.towers, model.logit_scale.device
        pixels = resize_radiographs(np.asarray(images), towers.image_size, crop=towers.crop, device=device)
        if canonical_side:
            left = torch.tensor([side == "L" for side in sides], device=pixels.device)
            pixels = torch.where(left[:, None, None], pixels.flip(-1), pixels)
        logits = model(pixels).float().cpu()
    model.train(training)
    check_finite(logits, "grades of radiographs")
    return logits.softmax(-1).numpy()
