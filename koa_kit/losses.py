"""What is a good answer? Pure functions of logits: no model, no state.

Logits are scaled cosine similarities between a knee and the five grade prompts, ``S`` for the image as it is and
``S_H`` for its mirror image. CLIP-KOA (arXiv 2504.19443) trains with::

    total = CE(S, y) + w_sym · CE(S_H, y) + w_cons · D(S, S_H)

The first two terms at w_sym = 1 are its Symmetry Loss, the last its Consistency Loss. The paper states neither the
weights nor the form of ``D``; both are arguments here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from koa_kit.errors import KoaError

CONSISTENCY_FORMS = ("mse_logits", "mse_probabilities", "l1", "symmetric_kl", "jensen_shannon")


class LossParts(NamedTuple):
    """The three terms before weighting, and their weighted sum; scalars."""

    total: Tensor
    prompt: Tensor
    symmetry: Tensor
    consistency: Tensor


def prompt_cross_entropy(
    logits: Tensor, kl: Tensor, *, grade_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the true grade over the five prompts.

    Not CLIP's batch contrastive loss: there a batch of 64 knees repeats each of five captions a dozen times, and every
    repeat would count as a negative.

    Parameters
    ----------
    logits
        ``(N, K)`` scaled cosine similarities.
    kl
        ``(N,)`` true grades, integers 0 to K - 1.
    grade_weights
        ``(K,)`` non-negative weight of each true grade; the mean is weighted. Omitted: all equal.
    label_smoothing
        Share of the target spread evenly over all grades, 0 to 1.
    """
    return functional.cross_entropy(logits, kl, weight=grade_weights, label_smoothing=label_smoothing)


def symmetry_loss(logits: Tensor, logits_flip: Tensor, kl: Tensor, **options) -> Tensor:
    """CE(S, y) + CE(S_H, y): the knee and its mirror image must both be graded right (CLIP-KOA, Symmetry Loss).

    `options` go to `prompt_cross_entropy`.
    """
    return prompt_cross_entropy(logits, kl, **options) + prompt_cross_entropy(logits_flip, kl, **options)


def consistency_loss(logits: Tensor, logits_flip: Tensor, form: str = "mse_logits") -> Tensor:
    """Distance between the two answers, 0 when they agree and the same when they change places (Consistency Loss).

    Parameters
    ----------
    logits, logits_flip
        ``(N, K)`` logits of the knee and of its mirror image.
    form
        ``mse_logits``: mean squared difference of logits. ``mse_probabilities``: the same of probabilities. ``l1``:
        mean absolute difference of probabilities. ``symmetric_kl``: (KL(p‖q) + KL(q‖p)) / 2, mean over knees.
        ``jensen_shannon``: mean of KL to the midpoint, in nats, at most log 2. The paper does not state its form.

    Raises
    ------
    KoaError
        If `form` is unknown.
    """
    if form == "mse_logits":
        return (logits - logits_flip).square().mean()
    log_p, log_q = logits.log_softmax(-1), logits_flip.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    if form == "mse_probabilities":
        return (p - q).square().mean()
    if form == "l1":
        return (p - q).abs().mean()
    if form == "symmetric_kl":
        return ((p - q) * (log_p - log_q)).sum(-1).mean() / 2
    if form == "jensen_shannon":
        # log of the midpoint by logaddexp: finite even where one probability underflows
        log_m = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=p.dtype, device=p.device))
        return ((p * (log_p - log_m)).sum(-1) + (q * (log_q - log_m)).sum(-1)).mean() / 2
    raise KoaError(f"There is no consistency loss {form!r}.", remedy=f"Choose from {', '.join(CONSISTENCY_FORMS)}.")


def clip_koa_loss(
    logits: Tensor,
    logits_flip: Tensor | None,
    kl: Tensor,
    *,
    symmetry: float = 1.0,
    consistency: float = 1.0,
    form: str = "mse_logits",
    grade_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> LossParts:
    """Loss of CLIP-KOA and its parts: CE(S, y) + `symmetry` · CE(S_H, y) + `consistency` · D(S, S_H).

    Parameters
    ----------
    logits, logits_flip
        ``(N, K)``; `logits_flip` may be omitted (None) where both weights are 0.
    kl
        ``(N,)`` true grades.
    symmetry, consistency
        Weights, 0 or more. With both at 0 this is plain prompt cross-entropy.
    form
        See `consistency_loss`.
    grade_weights, label_smoothing
        See `prompt_cross_entropy`.

    Raises
    ------
    KoaError
        If a weight is negative, the form unknown, or `logits_flip` missing though a weight needs it.
    """
    if symmetry < 0 or consistency < 0:
        raise KoaError("A loss weight is negative.", where=f"symmetry={symmetry}, consistency={consistency}")
    options = {"grade_weights": grade_weights, "label_smoothing": label_smoothing}
    prompt = prompt_cross_entropy(logits, kl, **options)
    if logits_flip is None:
        if symmetry or consistency:
            raise KoaError("The flipped image's logits are missing.", remedy="Give them, or set both weights to 0.")
        zero = torch.zeros_like(prompt)
        return LossParts(prompt, prompt, zero, zero)
    mirrored = prompt_cross_entropy(logits_flip, kl, **options)
    distance = consistency_loss(logits, logits_flip, form)
    return LossParts(prompt + symmetry * mirrored + consistency * distance, prompt, mirrored, distance)


def check_finite(logits: Tensor, where: str) -> None:
    """Refuse logits that are not numbers; reads the result back from the device, so not for every step on a GPU.

    Raises
    ------
    KoaError
        With how many knees are affected.
    """
    bad = (~torch.isfinite(logits)).any(-1).sum().item()
    if bad:
        raise KoaError(
            f"The logits of {bad} of {len(logits)} knees are not finite.",
            where=where,
            remedy="Lower the learning rate, or look for images or prompts that a tower cannot take.",
        )
