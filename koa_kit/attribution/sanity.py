"""How far to trust a map of attribution: on phantoms against the true signs, and against models that learnt nothing."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from koa_kit.attribution.explain import as_in_evaluation, as_seen, explain, rows_seen
from koa_kit.attribution.scores import score_table
from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError
from koa_kit.model import ClipKoa
from koa_kit.phantom import phantom_masks
from koa_kit.training.views import Progress

RULES = ("runner-up",)
"""Ways to choose the two grades of each knee: the predicted one rather than the next."""


def score_on_phantoms(
    model: ClipKoa,
    cohort: Cohort,
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    method: str = "gradcam",
    pair: str | tuple[int, int | None] = "runner-up",
    most: int = 40,
    tolerance: float = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Table of `score_table`: how much of a model's maps lies where phantom knees truly have their signs.

    Parameters
    ----------
    model
        A model that grades phantoms well: the maps of one that was trained on other knees are scored as readily.
    cohort
        From `phantom_cohort`, or some of its knees.
    masks
        From `phantom_masks`, row for row with the cohort; omitted, drawn for the knees that are explained.
    method
        One of `METHODS`.
    pair
        "runner-up": each knee's predicted grade rather than its next; or two fixed grades for all knees.
    most
        Knees explained, drawn at random where there are more.
    tolerance
        In pixels of the radiograph, for hits; see `pointing`.
    seed
        Of the draw and of the intervals.
    progress
        Called with (done, total) knees.

    Raises
    ------
    KoaError
        If the cohort is empty or not one of phantoms, the masks do not fit, or as of `explain`.
    """
    if "draw_seed" not in cohort.table or not len(cohort) or most < 1:
        raise KoaError(
            "There is no phantom knee to explain.",
            where=f"cohort {cohort.name} of {len(cohort)} knees, most={most}",
            remedy="Pass a cohort from phantom_cohort: nobody knows where the signs of a real knee lie.",
        )
    if isinstance(pair, str) and pair not in RULES:
        raise KoaError(f"There is no rule {pair!r}.", where="pair", remedy=f"Give two grades, or one of {RULES}.")
    odd = [sign for sign, mask in (masks or {}).items() if np.shape(mask) != cohort.images.shape]
    if odd:
        raise KoaError(f"The masks of {odd[0]} do not fit the cohort.", where=f"{np.shape(masks[odd[0]])}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cohort))[:most])
    knees = cohort.take(chosen)
    heats = np.empty(knees.images.shape, np.float32)
    for row, (image, side) in enumerate(zip(knees.images, knees.table["side"], strict=True)):
        grades = pair
        if isinstance(pair, str):
            grades = np.argsort(-model.predict(image[None], [side])[1][0])[:2]
        asked = {"towards": grades[0], "rather_than": grades[1], "method": method, "side": side}
        heats[row] = explain(model, image, **asked).heat
        if progress:
            progress(row + 1, len(knees))
    height, width = heats.shape[1:]
    seen = np.zeros((height, width), bool)
    seen[rows_seen(model, (height, width))] = True
    of_these = phantom_masks(knees.table, height) if masks is None else {sign: m[chosen] for sign, m in masks.items()}
    patients = knees.table["patient"].to_numpy()
    return score_table(heats, of_these, patients=patients, seen=seen, tolerance=tolerance, seed=seed)


def randomised_similarity(model: ClipKoa, image: np.ndarray, *, draws: int = 5, seed: int = 0, **options) -> np.ndarray:
    """Rank correlations ``(draws,)`` of a model's map with those of the same model with weights drawn anew, -1 to 1.

    A map that explains what the model learnt goes when the weights go: values near 1 mean that it shows the picture's
    edges, whatever the model. Each weight of the image tower and of what reads its features is drawn from a normal
    distribution with the mean and spread of its layer; the statistics of batch norms are then taken from this film. A
    coarse map has few cells, so that one draw may agree by chance. nan where a map is flat.

    Parameters
    ----------
    model
        Not changed.
    draws, seed
        Of the weights. The global random state is left as it was.
    image, **options
        As of `explain`: towards, rather_than, method, mirror.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292.
    """
    if draws < 1:
        raise KoaError(f"{draws} draws give no correlation.", where="draws", remedy="5 show the spread.")
    learnt = explain(model, image, **options).heat
    # outside of what the model sees all maps are 0 alike, and would agree
    rows = rows_seen(model, learnt.shape)
    found, mirror = [], options.get("mirror", False)
    for draw in range(draws):
        other = explain(_drawn_anew(model, np.asarray(image), mirror, (seed, draw)), image, **options).heat
        flat = np.ptp(learnt[rows]) == 0 or np.ptp(other[rows]) == 0
        found.append(np.nan if flat else stats.spearmanr(learnt[rows], other[rows], axis=None).statistic)
    return np.array(found)


def _drawn_anew(model: ClipKoa, image: np.ndarray, mirror: bool, seed: tuple[int, int]) -> ClipKoa:
    # the words stay, and need no copy
    other = deepcopy(model, {id(shared): shared for shared in (model.text_tower, model.towers.tokenize)})
    chance = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    norms = [m for m in other.image_tower.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with as_in_evaluation(other), torch.no_grad():
        for part in (other.image_tower, other.image_projection, other.grade_layer):
            for weight in part.parameters() if part is not None else ():
                noise = torch.randn(weight.shape, generator=chance).to(weight)
                weight.copy_(weight.mean() + weight.std(correction=0) * noise)
        for norm in norms:
            # without momentum the statistics are those of this one pass
            norm.momentum = None
            norm.reset_running_stats()
            norm.training = True
        seen = as_seen(other, image, mirror)
        other.image_features(torch.cat([seen, seen.flip(-1)]))
    return other
