"""CLIP-KOA, taught and analysed: grade knee X-rays on the Kellgren-Lawrence scale by comparing them with words.

The rooms load when first used, so that ``import koa_kit`` costs next to nothing::

    from koa_kit import load_cohort, fit, TrainConfig
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "KoaError": "koa_kit.errors",
    "Cohort": "koa_kit.cohort",
    "load_cohort": "koa_kit.data",
    "load_manifest": "koa_kit.data",
    "PromptSet": "koa_kit.prompts",
    "prompt_set": "koa_kit.prompts",
    "ClipKoa": "koa_kit.model",
    "load_checkpoint": "koa_kit.model",
    "TrainConfig": "koa_kit.training",
    "fit": "koa_kit.training",
    "load_pretrained": "koa_kit.pretrained",
    "predict": "koa_kit.training",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'koa_kit' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOMES])
