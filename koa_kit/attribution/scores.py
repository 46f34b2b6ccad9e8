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

from koa_kit.error_analysis.statistics.intervals import draw_patients
from koa_kit.errors import KoaError

UNION = "any sign"
"""Name of the row in which all masks are taken together."""

COLUMNS = ("sign", "knees", "hit_rate", "hit_chance", "energy", "chance", "lift", "typical")
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a model's answer comes from in one radiograph, as `koa_kit.attribution.explain.explain` finds it.

    Attributes
    ----------
    heat
        float32 ``(H, W)`` in the frame of the radiograph. Above 0 where the picture speaks for `towards`, below 0
        where it speaks for `rather_than`, and 0 outside the part that the model sees.
    towards, rather_than
        The two grades; the second is None where one logit is explained alone.
    difference
        Logit of `towards` minus that of `rather_than`, or the logit alone.
    method
        How the heat was found.
    baseline
        `difference` of the film that occlusion and integrated gradients compare with; nan for Grad-CAM.
    gap
        Of integrated gradients: by how much the heat fails to add up to ``difference - baseline``, in logits, as the
        model sees the film; nan for the other methods, which promise no sum.
    """

    heat: np.ndarray
    towards: int
    rather_than: int | None
    difference: float
    method: str
    baseline: float = NAN
    gap: float = NAN

    @property
    def question(self) -> str:
        """For example "why KL2 rather than KL1"."""
        return f"why KL{self.towards}" + ("" if self.rather_than is None else f" rather than KL{self.rather_than}")


def pointing(heat: np.ndarray, mask: np.ndarray, tolerance: float = 0) -> float:
    """1.0 if the hottest pixel lies in the mask or at most `tolerance` pixels from it, else 0.0; nan of an empty mask.

    Where several pixels are the hottest, the one nearest to their middle counts. A map with no positive heat points
    nowhere and misses.

    Parameters
    ----------
    heat
        Float ``(H, W)``.
    mask
        Bool ``(H, W)``.
    tolerance
        In pixels, 0 or more.

    Raises
    ------
    KoaError
        If the shapes differ, a heat is not finite, or the tolerance is below 0.

    Source: the pointing game, Zhang et al. 2018, Int J Comput Vis 126:1084-1102.
    """
    heat, mask = _pair(heat, mask)
    if tolerance < 0:
        raise KoaError(f"A tolerance of {tolerance} pixels is none.", where="tolerance", remedy="Give 0 or more.")
    if not mask.any():
        return NAN
    if heat.max() <= 0:
        return 0.0
    row, column = hottest(heat)
    # only what lies within reach is looked at
    reach = int(tolerance)
    top, left = max(row - reach, 0), max(column - reach, 0)
    rows, columns = np.nonzero(mask[top : row + reach + 1, left : column + reach + 1])
    return float(((rows + top - row) ** 2 + (columns + left - column) ** 2 <= tolerance**2).any())


def hottest(heat: np.ndarray) -> tuple[int, int]:
    """Row and column of the hottest pixel; of several, the one nearest to their middle."""
    places = np.argwhere(heat == heat.max())
    row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def energy_inside(heat: np.ndarray, mask: np.ndarray) -> float:
    """Share of the positive heat that lies inside the mask, 0 to 1; nan of an empty mask or a map without such heat.

    Raises
    ------
    KoaError
        If the shapes differ or a heat is not finite.

    Source: the energy-based pointing game, Wang et al. 2020, arXiv 1910.01279.
    """
    heat, mask = _pair(heat, mask)
    positive = np.maximum(heat, 0).astype(float)
    total = positive.sum()
    return float(positive[mask].sum() / total) if mask.any() and total > 0 else NAN


def area_share(mask: np.ndarray, seen: np.ndarray | None = None) -> float:
    """Share of the pixels that lie inside the mask, 0 to 1: the energy and the hit rate of a map that knows nothing.

    Parameters
    ----------
    mask
        Bool ``(H, W)``.
    seen
        Bool ``(H, W)``: where a map can have heat at all; omitted, everywhere.
    """
    mask = np.asarray(mask, bool)
    if seen is None:
        return float(mask.mean())
    mask, seen = _same_shape(mask, np.asarray(seen, bool))
    return float(mask[seen].mean()) if seen.any() else NAN


def score_table(
    heats: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    patients: Sequence | None = None,
    seen: np.ndarray | None = None,
    tolerance: float = 0,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Table, one row a sign and one for `UNION`: how often and how much of the heat lies where the sign lies.

    Parameters
    ----------
    heats
        Float ``(N, H, W)``.
    masks
        Sign to bool ``(N, H, W)``. A knee without the sign (an empty mask) says nothing about it and is left out.
    patients
        Patient of each knee. With them come 95 % intervals by bootstrap over patients; omitted, the intervals are nan
        and each knee counts as a patient of its own.
    seen
        Bool ``(H, W)``: where a map can have heat at all; omitted, everywhere.
    tolerance
        In pixels, for the hits alone; see `pointing`.
    draws, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        ``sign``; ``knees`` that have it; ``hit_rate`` and ``energy``, means over them; ``hit_chance`` and ``chance``,
        the mean share of the seen pixels that would be a hit, and that lie in the mask; ``lift``, energy divided by
        chance: 1 for a map that knows nothing; ``typical``, the energy of the mean positive map of the other patients:
        what a map scores that knows where signs tend to lie but never saw the knee (nan with one patient). Then
        ``_low`` and ``_high`` of hit rate, energy and lift. A map without positive heat misses, and has no share of it
        inside.

    Raises
    ------
    KoaError
        If the shapes do not fit, there is no map or no mask, or a heat is not finite.
    """
    heats = np.asarray(heats)
    if heats.ndim != 3 or not len(heats) or not masks:
        raise KoaError(
            f"There is nothing to score: maps of shape {heats.shape}, {len(masks)} masks.",
            remedy="Give maps (N, H, W) and at least one sign's masks of that shape.",
        )
    masks = {sign: _same_shape(np.asarray(mask, bool), heats)[0] for sign, mask in masks.items()}
    masks[UNION] = np.logical_or.reduce(list(masks.values()))
    with_interval, patients = patients is not None, np.arange(len(heats)) if patients is None else np.asarray(patients)
    if len(patients) != len(heats):
        raise KoaError(f"{len(patients)} patients do not fit {len(heats)} maps.", where="patients")
    others = _mean_of_others(heats, patients)
    rows = []
    for sign, mask in masks.items():
        has = np.flatnonzero(mask.any((1, 2)))
        row = {"sign": sign, "knees": len(has)}
        hit = np.array([pointing(heats[knee], mask[knee], tolerance) for knee in has])
        energy = np.nan_to_num([energy_inside(heats[knee], mask[knee]) for knee in has])
        chance = np.array([area_share(mask[knee], seen) for knee in has])
        typical = np.array([energy_inside(others[knee], mask[knee]) for knee in has])
        one = np.ones(len(has))
        for name, top, bottom in (("hit_rate", hit, one), ("energy", energy, one), ("lift", energy, chance)):
            value, low, high = _ratio_with_interval(top, bottom, patients[has], draws, seed)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            if not with_interval:
                row |= {f"{name}_low": NAN, f"{name}_high": NAN}
        wide = chance if not tolerance else np.array([area_share(_within(mask[knee], tolerance), seen) for knee in has])
        for name, values in (("hit_chance", wide), ("chance", chance), ("typical", typical[~np.isnan(typical)])):
            row[name] = values.mean() if len(values) else NAN
        rows.append(row)
    ends = [f"{name}_{end}" for name in ("hit_rate", "energy", "lift") for end in ("low", "high")]
    return pd.DataFrame(rows)[[*COLUMNS, *ends]]


def _mean_of_others(heats: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean positive map ``(N, H, W)`` of all other patients' knees, each map counting the same; 0 of one patient."""
    shares = np.maximum(heats, 0).astype(np.float32)
    totals = shares.sum((1, 2), keepdims=True)
    shares /= np.where(totals > 0, totals, 1)
    names, row = np.unique(patients.astype(str), return_inverse=True)
    own = np.zeros((len(names), *heats.shape[1:]), np.float32)
    np.add.at(own, row, shares)
    return np.maximum(shares.sum(0) - own, 0)[row]


def _within(mask: np.ndarray, tolerance: float) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask) <= tolerance


def _ratio_with_interval(
    top: np.ndarray, bottom: np.ndarray, patients: np.ndarray, draws: int, seed: int
) -> tuple[float, float, float]:
    """Ratio of two sums over knees and its 95 % interval by bootstrap over patients; nan of no knee."""
    if not len(top) or not bottom.sum():
        return NAN, NAN, NAN
    names, row = np.unique(patients.astype(str), return_inverse=True)
    weights = draw_patients(len(names), draws, seed)
    above, below = (weights @ np.bincount(row, weights=values, minlength=len(names)) for values in (top, bottom))
    ratios = np.divide(above, below, out=np.full(draws, NAN), where=below > 0)
    low, high = np.nanpercentile(ratios, [2.5, 97.5])
    return float(top.sum() / bottom.sum()), float(low), float(high)


def _pair(heat: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heat, mask = _same_shape(np.asarray(heat), np.asarray(mask, bool))
    if not np.isfinite(heat).all():
        raise KoaError("The map has heat that is not finite.", remedy="Check the model's logits with predict.")
    return heat, mask


def _same_shape(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if one.shape != other.shape:
        raise KoaError(f"A map and a mask differ in shape: {one.shape} and {other.shape}.", remedy="Use one frame.")
    return one, other
