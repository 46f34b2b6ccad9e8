"""How do images meet words? Towers, the model that joins them, what it is in one record, and its checkpoint."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["load_checkpoint", "read_record", "round_to_half", "save_checkpoint"],
        "clip_koa": ["ClipKoa", "build_model"],
        "spec": ["ModelSpec"],
        "towers": ["Towers", "make_towers"],
    },
)
