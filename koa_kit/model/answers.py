"""From five similarities to five logits: how a model's answer is read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HEADS = {
    "prompts": "similarity of image and grade descriptions (CLIP)",
    "linear": "no words: a linear layer on the features of the same image tower",
}
LINKS = {
    "softmax": "the five similarities are logits as they are",
    "continuation": "each step to the next grade is a yes or no, given that the last step was a yes (CORN)",
}


def continuation_logits(similarities: Tensor) -> Tensor:
    """Log-probabilities ``(N, K)`` of grades climbed step by step, so that their softmax is the probabilities.

    ``P(y > k | y >= k) = sigmoid(s[k + 1] - s[k])``: a knee at grade k goes on to the next if that one's description
    is nearer. Cross-entropy of these is the sum over a knee's steps that CORN minimises (Shi, Cao and Raschka 2023,
    arXiv 2111.08851, equation 4), up to a factor a batch; P(y > k) can only fall with k, which a softmax leaves open.

    Parameters
    ----------
    similarities
        ``(N, K)`` scaled similarities, grades in ascending order.
    """
    steps = similarities[:, 1:] - similarities[:, :-1]
    climbed = functional.pad(functional.logsigmoid(steps).cumsum(1), (1, 0))
    stayed = functional.pad(functional.logsigmoid(-steps), (0, 1))
    return torch.add(climbed, stayed)
