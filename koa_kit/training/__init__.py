"""How does it learn? The choices of a run, one loop, predictions, and the folder a run leaves."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "augmentation": ["augment"],
        "config": ["METHODS", "REGIMES", "SCALES", "TrainConfig", "untrained"],
        "fitting": ["fit", "fit_or_load"],
        "methods": ["cost_table", "method_predictions", "train_methods"],
        "prediction": ["predict"],
        "run": ["Run", "load_run", "write_predictions"],
        "views": ["embed_cohort"],
    },
)
