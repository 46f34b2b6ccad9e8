"""How large a step does each parameter take? Groups of AdamW by part, depth and decay, and their schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from koa_kit.engine.blocks import block_depths


class Part(NamedTuple):
    """Named parameters that share a highest rate, and the factor on it from each block to the one below."""

    named: Mapping[str, Tensor]
    rate: float
    layer_decay: float = 1.0


def parameter_groups(parts: Iterable[Part], weight_decay: float) -> list[dict]:
    """Groups for AdamW, each with ``params``, ``lr`` (the highest of its schedule) and ``weight_decay``.

    With `layer_decay` below 1 a part is split by `block_depths`, lowest first, and each depth learns `layer_decay`
    times as fast as the one above it: low layers hold what is common to all pictures and have least to change (Clark
    et al. 2020, ELECTRA, arXiv 2003.10555; Bao et al. 2021, BEiT, arXiv 2106.08254). Parameters that are not trained
    are in no group; gains, biases and a temperature do not decay, which would only fight the normalisation.
    """
    groups = []
    for named, rate, layer_decay in parts:
        # one group rather than one per depth where all learn alike: fewer and longer loops over parameters
        depths = block_depths(named) if layer_decay < 1 else dict.fromkeys(named, 0)
        for depth in sorted(set(depths.values())):
            trained = [p for name, p in named.items() if depths[name] == depth and p.requires_grad]
            own = {"lr": rate * layer_decay ** (max(depths.values()) - depth)}
            for decay, wide in ((weight_decay, True), (0.0, False)):
                if chosen := [p for p in trained if (p.ndim > 1) == wide]:
                    groups.append({"params": chosen, **own, "weight_decay": decay})
    return groups


def one_cycle(groups: list[dict], steps: int, warmup: float) -> tuple[AdamW, OneCycleLR]:
    """AdamW over `groups`, and its schedule: each rate climbs for a share `warmup` of the `steps`, then falls.

    Both ways along a cosine, from 1/25 of the highest rate and down to a ten-thousandth of that (`OneCycleLR`).
    """
    # one pass over weights, gradients and moments: a third of the plain loop's time on a CPU, few launches on a GPU
    optimiser = AdamW(groups, fused=True)
    # torch divides by the length of the climb, so even the shortest run climbs for more than one step
    climb = min(max(warmup, 1.5 / steps), 0.9)
    return optimiser, OneCycleLR(optimiser, [group["lr"] for group in groups], total_steps=steps, pct_start=climb)
