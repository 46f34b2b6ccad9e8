"""Versions of what a result depends on, read from the installed packages; nothing is imported."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("koa_kit", "torch", "open_clip_torch", "timm", "transformers", "numpy", "pandas", "scikit-learn")


def installed_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Version of Python and of each package, "not installed" where there is none."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
