"""How far can a map of "why this grade" be trusted? Its heat against masks of where the signs truly lie.

The masks are those of phantom knees; no real radiograph comes with any. A score says little alone: joint space lies in
the middle of every film, so a map that shows the middle of the film scores too. Each stands beside two chance levels,
the area of the mask and the mean map of other patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from koa_kit.error_analysis.statistics.intervals import draw_patients, percentile_interval
from koa_kit.errors import KoaError

UNION = "any sign"
"""Name of the row in which all masks are taken together."""

COLUMNS = (
    *("sign", "knees", "hit_rate", "energy", "chance", "lift", "typical"),
    *("hit_rate_low", "hit_rate_high", "energy_low", "energy_high", "lift_low", "lift_high"),
)


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a model's answer comes from in one radiograph, as `koa_kit.attribution.maps.explain` finds it.

    `heat` is float32 ``(H, W)`` in the frame of the radiograph: above 0 where the picture speaks for `towards`, below 0
    where it speaks for `rather_than` (None where one logit is explained alone), 0 outside the part that the model sees.
    `difference` is the logit of the one less that of the other, `baseline` that of the film that occlusion and
    integrated gradients compare with (nan for Grad-CAM). `gap`, of integrated gradients: by how much the heat fails to
    add up to ``difference - baseline`` as the model sees the film; nan for the others, which promise no sum.
    """

    heat: np.ndarray
    towards: int
    rather_than: int | None
    difference: float
    method: str
    baseline: float = np.nan
    gap: float = np.nan

    @property
    def question(self) -> str:
        """For example "why KL2 rather than KL1"."""
        return f"why KL{self.towards}" + ("" if self.rather_than is None else f" rather than KL{self.rather_than}")


def pointing(heat: np.ndarray, mask: np.ndarray) -> float:
    """1.0 if the hottest pixel lies in the mask, else 0.0; nan of an empty mask.

    A map with no positive heat points nowhere and misses.
    Source: the pointing game, Zhang et al. 2018, Int J Comput Vis 126:1084-1102.
    """
    heat, mask = _checked(heat, mask)
    return float(heat.max() > 0 and mask[hottest(heat)]) if mask.any() else np.nan


def hottest(heat: np.ndarray) -> tuple[int, int]:
    """Row and column of the hottest pixel; of several, the one nearest to their middle."""
    places = np.argwhere(heat == heat.max())
    row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def energy_inside(heat: np.ndarray, mask: np.ndarray) -> float:
    """Share of the positive heat that lies inside the mask, 0 to 1; nan of an empty mask or a map without such heat.

    Source: the energy-based pointing game, Wang et al. 2020, arXiv 1910.01279.
    """
    heat, mask = _checked(heat, mask)
    positive = np.maximum(heat, 0).astype(float)
    total = positive.sum()
    return float(positive[mask].sum() / total) if mask.any() and total > 0 else np.nan


def area_share(mask: np.ndarray, seen: np.ndarray | None = None) -> float:
    """Share of the pixels inside the mask, 0 to 1: the energy and the hit rate of a map that knows nothing.

    Of the pixels `seen`, bool ``(H, W)``, where a map can have heat at all; omitted, of all.
    """
    mask = np.asarray(mask, bool)
    mask, seen = _checked(mask, np.ones_like(mask) if seen is None else seen)
    return float(mask[seen].mean()) if seen.any() else np.nan


def score_table(
    heats: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    patients: Sequence,
    seen: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Table with the columns of `score_on_phantoms`, one row per sign and one for `UNION`.

    Of maps float ``(N, H, W)`` of `patients` ``(N,)``, and of each sign's masks, bool of that shape; where a mask is
    empty, the knee is left out. `seen`, bool ``(H, W)``, is where a map can have heat at all.
    """
    heats = np.asarray(heats)
    if heats.ndim != 3 or not len(heats) or not masks:
        raise KoaError(
            f"There is nothing to score: maps of shape {heats.shape}, {len(masks)} masks.",
            remedy="Give maps (N, H, W) and at least one sign's masks of that shape.",
        )
    masks = {sign: _checked(heats, mask)[1] for sign, mask in masks.items()}
    masks |= {UNION: np.logical_or.reduce(list(masks.values()))}
    names = np.asarray(patients)
    if len(names) != len(heats):
        raise KoaError(f"{len(names)} patients do not fit {len(heats)} maps.", where="patients")
    others = _mean_of_others(heats, names)
    rows = []
    for sign, mask in masks.items():
        has = np.flatnonzero(mask.any((1, 2)))
        scores = {
            "hit_rate": [pointing(heats[knee], mask[knee]) for knee in has],
            "energy": np.nan_to_num([energy_inside(heats[knee], mask[knee]) for knee in has]),
            "chance": [area_share(mask[knee], seen) for knee in has],
            "typical": [energy_inside(others[knee], mask[knee]) for knee in has],
        }
        table = pd.DataFrame(scores, dtype=float)
        row = {"sign": sign, "knees": len(has)} | table.mean().to_dict()
        whole = pd.Series(1.0, table.index)
        for name, above, below in (
            ("hit_rate", table["hit_rate"], whole),
            ("energy", table["energy"], whole),
            ("lift", table["energy"], table["chance"]),
        ):
            row[name], row[f"{name}_low"], row[f"{name}_high"] = _ratio(above, below, names[has], draws, seed)
        rows.append(row)
    return pd.DataFrame(rows)[list(COLUMNS)]


def _mean_of_others(heats: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean positive map ``(N, H, W)`` of all other patients' knees, each map counting the same; 0 of one patient."""
    shares = np.maximum(heats, 0).astype(np.float32)
    totals = shares.sum((1, 2), keepdims=True)
    shares /= np.where(totals > 0, totals, 1)
    names, row = np.unique(patients.astype(str), return_inverse=True)
    own = np.zeros((len(names), *heats.shape[1:]), np.float32)
    np.add.at(own, row, shares)
    return np.maximum(shares.sum(0) - own, 0)[row]


def _ratio(above: pd.Series, below: pd.Series, patients: np.ndarray, draws: int, seed: int) -> tuple[float, ...]:
    """Ratio of two sums over knees and its 95 % interval by bootstrap over patients; nan of no knee."""
    value = above.sum() / below.sum() if below.sum() else np.nan
    if np.isnan(value):
        return value, np.nan, np.nan
    names, column = np.unique(patients.astype(str), return_inverse=True)
    weights = draw_patients(len(names), draws, seed)
    tops, bottoms = (weights @ np.bincount(column, weights=values) for values in (above, below))
    ratios = np.divide(tops, bottoms, out=np.full(draws, np.nan), where=bottoms > 0)
    return value, *percentile_interval(value, ratios, 0.95)[:2]


def _checked(heat: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heat, mask = np.asarray(heat), np.asarray(mask, bool)
    if heat.shape != mask.shape:
        raise KoaError(f"A map and a mask differ in shape: {heat.shape} and {mask.shape}.", remedy="Use one frame.")
    if not np.isfinite(heat).all():
        raise KoaError("The map has heat that is not finite.", remedy="Check the model's logits with predict.")
    return heat, mask
