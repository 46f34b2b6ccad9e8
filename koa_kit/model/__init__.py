"""How do images meet words? Tower registry, `ClipKoa`, checkpoints."""

from koa_kit.model.checkpoint import load_checkpoint, read_record, round_to_half, save_checkpoint
from koa_kit.model.clip_koa import ClipKoa, make_model
from koa_kit.model.towers import Towers, make_towers

__all__ = [
    "ClipKoa",
    "Towers",
    "load_checkpoint",
    "make_model",
    "make_towers",
    "read_record",
    "round_to_half",
    "save_checkpoint",
]
