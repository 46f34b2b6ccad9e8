"""What is a good answer? Pure functions of logits: no model, no state.

Logits are scaled cosine similarities between a knee and the five grade prompts, ``S`` for the image as it is and
``S_H`` for its mirror image, ``(N, 5)`` each. CLIP-KOA (arXiv 2504.19443) trains with::

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

LOSSES = {
    "cross_entropy": "only the true grade's probability counts",
    "cdw_ce": "probability on a wrong grade costs more the further off it is (class distance weighted cross-entropy)",
    "corn": "each step to the next grade is a yes or no, given that the last step was a yes",
    "soft_labels": "the target is spread over the true grade's neighbours",
}
"""What can be asked of one view, see `grade_loss`."""

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
    """Mean cross-entropy of the true grades ``(N,)`` over the five prompts.

    Not CLIP's batch contrastive loss: there a batch of 64 knees repeats each of five captions a dozen times, and every
    repeat would count as a negative.

    Parameters
    ----------
    grade_weights
        ``(5,)`` non-negative weight of each true grade; the mean is weighted. Omitted: all equal.
    label_smoothing
        Share of the target spread evenly over all grades, 0 to 1.
    """
    return functional.cross_entropy(logits, kl, weight=grade_weights, label_smoothing=label_smoothing)


def distance_weighted_cross_entropy(
    logits: Tensor, kl: Tensor, *, power: float = 2.0, grade_weights: Tensor | None = None
) -> Tensor:
    """Mean of -sum_k abs(k - y)**power · log(1 - p_k): CDW-CE (Polat et al. 2022, arXiv 2202.05167, equation 2).

    The true grade itself has weight 0; it becomes likely because all others become unlikely. `power`, above 0, says
    how fast a mistake grows with its distance.
    """
    # log(1 - p_k) from the other logits: finite where p_k rounds to 1
    count = logits.shape[-1]
    others = torch.eye(count, dtype=torch.bool, device=logits.device)
    without = logits[:, None, :].expand(-1, count, -1).masked_fill(others, -torch.inf).logsumexp(-1)
    log_rest = without - logits.logsumexp(-1, keepdim=True)
    distance = (torch.arange(count, device=logits.device) - kl[:, None]).abs().to(logits.dtype) ** power
    return _weighted_mean(-(distance * log_rest).sum(-1), kl, grade_weights)


def soft_label_cross_entropy(
    logits: Tensor, kl: Tensor, *, width: float = 0.6, grade_weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy to a target that falls off around the true grade (SORD, Diaz and Marathe 2019, equation 2).

    `width` is the standard deviation in grades of the bell the target is cut from: at 0.6 a middle grade keeps 0.66 of
    the target and its neighbours get 0.17 each; towards 0 it is plain cross-entropy.
    """
    grades = torch.arange(logits.shape[-1], device=logits.device)
    target = (-((grades - kl[:, None]).to(logits.dtype) ** 2) / (2 * width**2)).softmax(-1)
    return _weighted_mean(-(target * logits.log_softmax(-1)).sum(-1), kl, grade_weights)


def _weighted_mean(losses: Tensor, kl: Tensor, grade_weights: Tensor | None) -> Tensor:
    if grade_weights is None:
        return losses.mean()
    weights = grade_weights[kl]
    return (weights * losses).sum() / weights.sum()


def grade_loss(
    logits: Tensor,
    kl: Tensor,
    *,
    loss: str = "cross_entropy",
    grade_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    distance_power: float = 2.0,
    soft_width: float = 0.6,
) -> Tensor:
    """What one view must answer for, one of `LOSSES`, a scalar; the options are those of the losses above.

    "corn" is cross-entropy of `continuation_logits`, which a model with output "corn" gives.
    """
    if loss in ("cross_entropy", "corn"):
        return prompt_cross_entropy(logits, kl, grade_weights=grade_weights, label_smoothing=label_smoothing)
    if loss == "cdw_ce":
        return distance_weighted_cross_entropy(logits, kl, power=distance_power, grade_weights=grade_weights)
    if loss == "soft_labels":
        return soft_label_cross_entropy(logits, kl, width=soft_width, grade_weights=grade_weights)
    raise KoaError(f"There is no loss {loss!r}.", remedy=f"Choose from {', '.join(LOSSES)}.")


def symmetry_loss(logits: Tensor, logits_flip: Tensor, kl: Tensor, **options) -> Tensor:
    """CE(S, y) + CE(S_H, y): the knee and its mirror image must both be graded right; `options` as of `grade_loss`."""
    return grade_loss(logits, kl, **options) + grade_loss(logits_flip, kl, **options)


def consistency_loss(logits: Tensor, logits_flip: Tensor, form: str = "mse_logits") -> Tensor:
    """Distance between the two answers, 0 when they agree and the same when they change places (Consistency Loss).

    Parameters
    ----------
    form
        ``mse_logits``: mean squared difference of logits. ``mse_probabilities``: the same of probabilities. ``l1``:
        mean absolute difference of probabilities. ``symmetric_kl``: (KL(p‖q) + KL(q‖p)) / 2, mean over knees.
        ``jensen_shannon``: mean of KL to the midpoint, in nats, at most log 2. The paper does not state its form.
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
    **options,
) -> LossParts:
    """Loss of CLIP-KOA and its parts: CE(S, y) + `symmetry` · CE(S_H, y) + `consistency` · D(S, S_H).

    Weights are 0 or more; with both at 0 this is plain cross-entropy, and `logits_flip` may be None. `options` are
    those of `grade_loss`: another loss in the place of CE, weights of grades, smoothing.
    """
    if symmetry < 0 or consistency < 0:
        raise KoaError("A loss weight is negative.", where=f"symmetry={symmetry}, consistency={consistency}")
    prompt = grade_loss(logits, kl, **options)
    if logits_flip is None:
        if symmetry or consistency:
            raise KoaError("The flipped image's logits are missing.", remedy="Give them, or set both weights to 0.")
        zero = torch.zeros_like(prompt)
        return LossParts(prompt, prompt, zero, zero)
    mirrored = grade_loss(logits_flip, kl, **options)
    distance = consistency_loss(logits, logits_flip, form)
    return LossParts(prompt + symmetry * mirrored + consistency * distance, prompt, mirrored, distance)


def continuation_logits(similarities: Tensor) -> Tensor:
    """Log-probabilities ``(N, 5)`` of grades climbed step by step from similarities, grades in ascending order.

    ``P(y > k | y >= k) = sigmoid(s[k + 1] - s[k])``: a knee at grade k goes on to the next if that one's description
    is nearer. Cross-entropy of these is the sum over a knee's steps that CORN minimises (Shi, Cao and Raschka 2023,
    arXiv 2111.08851, equation 4), up to a factor per batch; P(y > k) can only fall with k, which a softmax leaves open.
    """
    steps = similarities[:, 1:] - similarities[:, :-1]
    climbed = functional.pad(functional.logsigmoid(steps).cumsum(1), (1, 0))
    stayed = functional.pad(functional.logsigmoid(-steps), (0, 1))
    return torch.add(climbed, stayed)
