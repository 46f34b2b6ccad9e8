"""How does it learn? Run configuration, batch augmentation, embedding cache, `fit`, `predict`."""

from koa_kit.training.augmentation import augment
from koa_kit.training.config import METHODS, REGIMES, SCALES, TrainConfig
from koa_kit.training.embedding_cache import embed_cohort, resize_radiographs
from koa_kit.training.loop import Run, choose_device, fit, load_run, write_predictions
from koa_kit.training.prediction import predict, predictions_table

__all__ = [
    "METHODS",
    "REGIMES",
    "SCALES",
    "Run",
    "TrainConfig",
    "augment",
    "choose_device",
    "embed_cohort",
    "fit",
    "load_run",
    "predict",
    "predictions_table",
    "resize_radiographs",
    "write_predictions",
]
