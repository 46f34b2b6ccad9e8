"""The trained model that comes with the kit, its card, and how a run becomes one."""

from koa_kit.pretrained.load import load_pretrained, package_run

__all__ = ["load_pretrained", "package_run"]
