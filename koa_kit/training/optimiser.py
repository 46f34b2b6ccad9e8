"""How large a step does each parameter take? Groups of AdamW by component, depth and decay, and their schedule."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from koa_kit.model import ClipKoa
from koa_kit.model.blocks import block_depths
from koa_kit.training.config import TrainConfig


def parameter_groups(model: ClipKoa, config: TrainConfig) -> list[dict]:
    """Groups for AdamW, each with ``params``, ``lr`` (the highest of its schedule) and ``weight_decay``.

    Image tower, text tower and projections in this order, the last at `learning_rate`, the towers at `learning_rate` ·
    `tower_rate`. With `layer_decay` below 1 a tower is split by `block_depths`, lowest first, and each depth learns
    `layer_decay` times as fast as the one above it: low layers hold what is common to all pictures and have least to
    change (Clark et al. 2020, ELECTRA, arXiv 2003.10555; Bao et al. 2021, BEiT, arXiv 2106.08254). Parameters that
    are not trained are in no group.

    Parameters
    ----------
    model
        Model to train, its components locked as they shall be.
    config
        Its learning_rate, tower_rate, layer_decay and weight_decay.
    """
    groups = []
    for name in ("image", "text", "projections"):
        rate = config.learning_rate * (1.0 if name == "projections" else config.tower_rate)
        for share, parameters in _by_depth(model, name, config.layer_decay):
            trained = [parameter for parameter in parameters if parameter.requires_grad]
            # gains, biases and the temperature are not shrunk: decay there only fights the normalisation
            for decay, chosen in (
                (config.weight_decay, [p for p in trained if p.ndim > 1]),
                (0.0, [p for p in trained if p.ndim <= 1]),
            ):
                if chosen:
                    groups.append({"params": chosen, "lr": rate * share, "weight_decay": decay})
    return groups


def _by_depth(model: ClipKoa, component: str, layer_decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """Factors on the component's rate, each with its parameters."""
    if component == "projections" or layer_decay == 1:
        # one group rather than one a depth: fewer and longer loops over parameters
        return [(1.0, model.component(component))]
    tower = model.image_tower if component == "image" else model.text_tower
    depths = block_depths(tower)
    deepest = max(depths.values())
    return [
        (layer_decay ** (deepest - depth), [p for name, p in tower.named_parameters() if depths[name] == depth])
        for depth in sorted(set(depths.values()))
    ]


def make_optimiser(model: ClipKoa, config: TrainConfig, steps: int) -> tuple[AdamW, OneCycleLR]:
    """AdamW over `parameter_groups`, and its schedule: each rate climbs for a share `warmup` of the steps, then falls.

    Both ways along a cosine, from 1/25 of the highest rate and down to a ten-thousandth of that (`OneCycleLR`).

    Parameters
    ----------
    model
        Model to train, on its device.
    config
        Choices of the run.
    steps
        Length of the schedule: the optimiser steps of the whole run.
    """
    groups = parameter_groups(model, config)
    # one pass over weights, gradients and moments: a third of the plain loop's time on a CPU, few launches on a GPU
    optimiser = AdamW(groups, fused=True)
    # torch divides by the length of the climb, so even the shortest run climbs for more than one step
    climb = min(max(config.warmup, 1.5 / steps), 0.9)
    rates = [group["lr"] for group in groups]
    return optimiser, OneCycleLR(optimiser, rates, total_steps=steps, pct_start=climb)
