"""How does it learn? Run configuration, batch augmentation, embedding cache, `fit`, `predict`."""

from koa_kit.training.ablation import grid, run_grid
from koa_kit.training.augmentation import augment
from koa_kit.training.averaging import wise_ft_curve
from koa_kit.training.config import METHODS, REGIMES, SCALES, TrainConfig
from koa_kit.training.embedding_cache import embed_cohort, resize_radiographs
from koa_kit.training.loop import fit, fit_or_load
from koa_kit.training.methods import cost_table, method_predictions, train_methods
from koa_kit.training.prediction import predict, predictions_table
from koa_kit.training.pretrained import load_pretrained, package_run
from koa_kit.training.processes import choose_device
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
    "grid",
    "load_pretrained",
    "load_run",
    "method_predictions",
    "package_run",
    "predict",
    "predictions_table",
    "resize_radiographs",
    "run_grid",
    "train_methods",
    "wise_ft_curve",
    "write_predictions",
]
