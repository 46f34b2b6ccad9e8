"""How steady is an answer? The same knee, moved and exposed a little otherwise, graded again and again."""

from __future__ import annotations

import numpy as np
import torch

from koa_kit.cohort import Cohort
from koa_kit.engine.modes import evaluating
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.training.augmentation import augment, draw_changes
from koa_kit.training.views import ImageViews


def augmented_answers(model: ClipKoa, cohort: Cohort, *, views: int = 4, seed: int = 0, batch: int = 64) -> np.ndarray:
    """Probabilities float64 ``(N, views, 5)`` of each knee when it is augmented as in training, at full strength.

    Parameters
    ----------
    model
        Trained model; used in evaluation mode.
    cohort
        Knees to grade.
    views
        Augmented views of each knee, 2 or more.
    seed
        Of the changes: the same for every model that is compared.
    batch
        Knees a forward pass.
    """
    knees = ImageViews(model, cohort)
    generator = torch.Generator().manual_seed(seed)
    found = []
    with evaluating(model), torch.inference_mode():
        for rows in torch.arange(len(cohort)).split(batch):
            answers = []
            for _ in range(views):
                changed = augment(knees.inputs(rows), draw_changes(len(rows), generator))
                answers.append(model(changed).float().softmax(-1).cpu())
            found.append(torch.stack(answers, 1).double().numpy())
    return np.concatenate(found)


def augmentation_stability(model: ClipKoa, cohort: Cohort, **options) -> dict[str, float]:
    """How much a model's answers vary over augmented views; `options` go to `augmented_answers`.

    Returns
    -------
    dict
        ``augmentation_variance``: mean over knees of the variance (n - 1) of the expected grade over views, in grades
        squared. ``augmentation_disagreement``: share of knees not given one grade in all views.
    """
    p = augmented_answers(model, cohort, **options)
    expected, given = p @ np.arange(p.shape[-1]), p.argmax(-1)
    return {
        "augmentation_variance": float(expected.var(1, ddof=1).mean()),
        "augmentation_disagreement": float((given != given[:, :1]).any(1).mean()),
    }
