"""How does it learn? Run configuration, batch augmentation, embedding cache, `fit`, `predict`."""

from koa_kit.engine.processes import choose_device
from koa_kit.training.augmentation import augment
from koa_kit.training.config import METHODS, REGIMES, SCALES, TrainConfig
from koa_kit.training.embedding_cache import embed_cohort, resize_radiographs
from koa_kit.training.loop import fit, fit_or_load
from koa_kit.training.methods import cost_table, method_predictions, train_methods
from koa_kit.training.prediction import predict, predictions_table
from koa_kit.training.run import Run, load_run, write_predictions

__all__ = [
    "METHODS",
    "REGIMES",
    "SCALES",
    "Run",
    "TrainConfig",
    "augment",
    "choose_device",
    "cost_table",
    "embed_cohort",
    "fit",
    "fit_or_load",
    "load_run",
    "method_predictions",
    "predict",
    "predictions_table",
    "resize_radiographs",
    "train_methods",
    "write_predictions",
]
