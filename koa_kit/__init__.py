"""CLIP-KOA, taught and analysed: grade knee X-rays on the Kellgren-Lawrence scale by comparing them with words.

Everything loads when it is first used, so that ``import koa_kit`` costs next to nothing::

    from koa_kit import load_cohort, fit, TrainConfig
"""

import os

import lazy_loader as lazy

# OpenMP's threads spin while they wait, and starve each other where another process is busy; read when torch is loaded
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# after a moment's spinning: asleep at once, they would wake too late on an idle machine
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "cohort": ["Cohort"],
        "data": ["load_cohort", "load_manifest"],
        "errors": ["KoaError"],
        "model": ["ClipKoa", "ModelSpec", "build_model", "load_checkpoint"],
        "pretrained": ["load_pretrained"],
        "prompts": ["PromptSet", "prompt_set"],
        "training": ["TrainConfig", "fit", "predict"],
    },
)
