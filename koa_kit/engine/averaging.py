"""Weights next to the trained ones: a moving average over steps, and a mixture of the start with what was learnt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a model's weights and statistics, as a model of its own in ``.module``.

    After step t = 0, 1, … the average keeps ``min(decay, (1 + t) / (10 + t))`` of itself, so that the random start is
    soon forgotten (Tarvainen and Valpola 2017, arXiv 1703.01780, for such averages; the climb is TensorFlow's). A
    `decay` in [0, 1) of 0.999 averages over about the last thousand steps. To be updated with
    ``update_parameters(model)`` after each step; nothing is read back from the device.
    """

    def mix(averaged: Sequence[Tensor], current: Sequence[Tensor], _) -> None:
        pairs = [pair for pair in zip(averaged, current, strict=True) if pair[0].data_ptr() in changing]
        if pairs:
            updates = int(average.n_averaged)  # counted on the CPU, the first of them was the start itself
            get_ema_multi_avg_fn(min(decay, updates / (9 + updates)))(*map(list, zip(*pairs, strict=True)), None)

    average = AveragedModel(model, multi_avg_fn=mix, use_buffers=True)
    # a buffer that is not in the state is a constant, such as an attention mask, whose infinities have no mean
    state = average.module.state_dict().values()
    changing = {value.data_ptr() for value in state if value.is_floating_point()}
    average.update_parameters(model)
    return average


@torch.no_grad()
def mix_in(model: nn.Module, start: dict[str, Tensor], share: float) -> None:
    """Weights become ``share · own + (1 - share) · start``, in place: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).

    What a tower knew of other pictures before it was tuned partly comes back, often at no cost on knees like those it
    was tuned on. Means and variances of batch norms are mixed as weights are, which is not what they would be if
    measured. `start` are weights before training by their name in ``state_dict``, all others stay; a `share` of 0 gives
    the start and one of 1 leaves the tuned weights, both exactly.
    """
    own = model.state_dict()
    for name, before in start.items():
        own[name].copy_(torch.lerp(before.to(own[name]), own[name], share) if share else before)
