"""The model that a run's choices stand for, before its first step."""

from __future__ import annotations

from koa_kit.model import ClipKoa, make_model
from koa_kit.model.blocks import train_last_blocks
from koa_kit.training.config import TrainConfig


def untrained_model(config: TrainConfig, **other) -> ClipKoa:
    """Model with the weights a run of these choices begins with; the same every time.

    Parameters
    ----------
    config
        Choices of the run.
    **other
        Arguments of `make_model`, such as ``device``, in place of what the choices stand for.
    """
    choices = {
        "image_size": config.image_size,
        "crop": config.crop,
        "exposure": config.exposure,
        "locked": config.locked,
        "flip_pooling": config.method == "flip_pooling",
        "feature_dropout": config.feature_dropout,
        "head": config.head,
        "link": config.link,
        "seed": config.seed,
    }
    model = make_model(config.towers, config.prompts, **choices | other)
    if config.trained_blocks:
        train_last_blocks(model, config.trained_blocks)
    return model
