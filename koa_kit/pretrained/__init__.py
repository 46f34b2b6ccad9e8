"""The trained model that comes with the kit, its card, and how a run becomes one."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={"load": ["load_pretrained", "package_run"]})
