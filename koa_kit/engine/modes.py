"""How a model is run: in evaluation mode for a while, or compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from koa_kit.errors import KoaError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode inside the block, and as it was after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def check_backend(backend: str) -> None:
    """Raise `KoaError` if ``torch.compile`` has no such backend."""
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        known = ", ".join(torch.compiler.list_backends())
        raise KoaError(f"torch.compile has no backend {backend!r}.", remedy=f"Choose from {known}.")
