"""Which trained models come with the kit; asked without loading one."""

from koa_kit import paths

DEFAULT = "lite0-joint"


def pretrained_names() -> list[str]:
    """Names of the trained models that come with the kit."""
    home = paths.PACKAGE / "pretrained"
    return sorted(entry.parent.name for entry in home.glob("*/model.json"))
