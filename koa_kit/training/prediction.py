"""Predictions: what a model says about every knee and its mirror image, as the table all error analysis starts from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from koa_kit.cohort import Cohort
from koa_kit.engine.memory import tune_memory
from koa_kit.engine.modes import evaluating
from koa_kit.error_analysis.predictions import predictions_table
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.model.grader import check_finite
from koa_kit.training.views import ImageViews, Progress, views_of


def predict(
    model: ClipKoa, cohort: Cohort, *, batch: int = 64, progress: Progress | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predictions and embeddings of every knee of a cohort, each shown from the side the model knows.

    The model is used in evaluation mode, on `batch` knees per pass; `progress` is called with (done, total) knees.

    Returns
    -------
    predictions
        One row a knee: identity columns, ``s0…s4`` scaled similarities, ``p0…p4`` probabilities (softmax), the same
        for the mirror image with ``_flip``, ``pred`` and ``pred_flip`` the grade of each by the model's rule.
    embeddings
        float32 ``(N, 2, D)`` unit vectors of the knee and its mirror image in the space of the prompts.

    Raises
    ------
    KoaError
        If a logit is not finite.
    """
    if model.device.type == "cpu":
        tune_memory()
    views = views_of(model, cohort, progress=progress)
    parts = []
    with evaluating(model), torch.inference_mode():
        for rows in torch.arange(len(cohort)).split(batch):
            parts.append(model.answer_features(*views.encode(model, views.inputs(rows))))
            if progress and isinstance(views, ImageViews):
                progress(int(rows[-1]) + 1, len(cohort))
    logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
    check_finite(logits, f"predictions of {cohort.name}")
    return predictions_table(cohort.table, logits, rule=model.spec.rule), embeddings
