"""Figures of words: how near the grade descriptions lie to each other in a text tower's eyes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional

from koa_kit.grades import GRADES
from koa_kit.model.clip_koa import ClipKoa, averaging, grade_vectors
from koa_kit.model.towers import Towers
from koa_kit.prompts import PromptSet, prompt_set
from koa_kit.style import SEQUENTIAL


def encode_prompts(towers: Towers, prompts: str | PromptSet) -> np.ndarray:
    """Unit vectors float32 ``(5, text_width)``, one a grade, of a text tower that has not been trained on knees.

    An ensemble is the normalised mean of its sentences' unit vectors, as in `ClipKoa.prompt_embeddings`.
    """
    words = prompt_set(prompts)
    with torch.no_grad():
        sentences = functional.normalize(towers.text.eval()(towers.tokenize(words.sentences)), dim=-1)
        return grade_vectors(sentences, averaging(words)).numpy()


def trained_prompts(model: ClipKoa) -> np.ndarray:
    """Unit vectors float32 ``(5, D)`` of a model's prompts in the space it shares with images."""
    with torch.no_grad():
        return model.prompt_embeddings().cpu().numpy()


def prompt_similarity_figure(embeddings: Mapping[str, np.ndarray], *, limits: tuple[float, float] = (-1, 1)) -> Figure:
    """Cosine between each pair of grade descriptions, one heat map a name.

    Parameters
    ----------
    embeddings
        Title to unit vectors ``(5, D)``.
    limits
        Cosines at the ends of the colour scale, which all maps share.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(embeddings), figsize=(3.3 * len(embeddings), 3.4), squeeze=False)
    for ax, (title, vectors) in zip(axes[0], embeddings.items(), strict=True):
        _heat_map(ax, vectors @ vectors.T, title, limits)
    return figure


def _heat_map(ax: Axes, cosines: np.ndarray, title: str, limits: tuple[float, float]) -> None:
    import seaborn as sns

    names = [f"KL{grade}" for grade in GRADES]
    sns.heatmap(
        cosines, vmin=limits[0], vmax=limits[1], cmap=SEQUENTIAL, annot=True, fmt=".2f", square=True, linewidths=2,
        cbar=False, xticklabels=names, yticklabels=names, annot_kws={"size": 9.5}, ax=ax,
    )  # fmt: skip
    ax.set_title(title)
    ax.tick_params(length=0, labelrotation=0)
