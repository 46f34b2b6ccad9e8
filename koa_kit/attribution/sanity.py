"""How far to trust a map of attribution: on phantoms against the true signs, and against models that learnt nothing."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from koa_kit.attribution.maps import as_in_evaluation, as_seen, explain, rows_seen
from koa_kit.attribution.scores import score_table
from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError
from koa_kit.model import ClipKoa
from koa_kit.phantom import phantom_masks


def score_on_phantoms(
    model: ClipKoa,
    cohort: Cohort,
    *,
    method: str = "gradcam",
    pair: tuple[int, int | None] | None = None,
    most: int = 40,
    seed: int = 0,
) -> pd.DataFrame:
    """Table, one row per sign and one for all together: how much of a model's heat lies where phantoms have the sign.

    Parameters
    ----------
    model
        A model that grades phantoms well: the maps of one that was trained on other knees are scored as readily.
    cohort
        From `phantom_cohort`, or some of its knees.
    method
        One of `METHODS`.
    pair
        Two grades for all knees; omitted, each knee's predicted grade rather than its next.
    most
        Knees explained, drawn at random where there are more.
    seed
        Of the draw and of the intervals.

    Returns
    -------
    DataFrame
        ``sign``; ``knees`` that have it; ``hit_rate`` and ``energy``, means over them; ``chance``, the mean share of
        the seen pixels that lie in the mask, which is both of a map that knows nothing; ``lift``, energy divided by
        chance, 1 of such a map; ``typical``, the energy of the mean positive map of the other patients: what a map
        scores that knows where signs tend to lie but never saw the knee (nan with one patient). Then ``_low`` and
        ``_high`` of hit rate, energy and lift: 95 % by bootstrap over patients. A map without positive heat misses, and
        has no share of it inside.

    Raises
    ------
    KoaError
        If the cohort is empty or not one of phantoms, or as of `explain`.
    """
    if "draw_seed" not in cohort.table or not len(cohort) or most < 1:
        raise KoaError(
            "There is no phantom knee to explain.",
            where=f"cohort {cohort.name} of {len(cohort)} knees, most={most}",
            remedy="Pass a cohort from phantom_cohort: nobody knows where the signs of a real knee lie.",
        )
    knees = cohort.take(np.sort(np.random.default_rng(seed).permutation(len(cohort))[:most]))
    sides = knees.table["side"]
    pairs = [pair] * len(knees) if pair else np.argsort(-model.predict(knees.images, sides)[1])[:, :2]
    heats = np.empty(knees.images.shape, np.float32)
    for row, (image, side, (towards, other)) in enumerate(zip(knees.images, sides, pairs, strict=True)):
        heats[row] = explain(model, image, towards=towards, rather_than=other, method=method, side=side).heat
    seen = np.zeros(heats.shape[1:], bool)
    seen[rows_seen(model, seen.shape)] = True
    masks = phantom_masks(knees.table, len(seen))
    return score_table(heats, masks, patients=knees.table["patient"], seen=seen, seed=seed)


def randomised_similarity(model: ClipKoa, image: np.ndarray, *, draws: int = 5, seed: int = 0, **options) -> np.ndarray:
    """Rank correlations ``(draws,)`` of a model's map with those of the same model with weights drawn anew, -1 to 1.

    A map that explains what the model learnt goes when the weights go: values near 1 mean that it shows the picture's
    edges, whatever the model. Each weight of the image tower and of what reads its features is drawn from a normal
    distribution with the mean and spread of its layer; the statistics of batch norms are then taken from this film. A
    coarse map has few cells, so that one draw may agree by chance. nan where a map is flat. Options as of `explain`.
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
