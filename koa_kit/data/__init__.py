"""What knees do I have, and can I trust them?

The names below load when they are first used. `audit`, `fetch` and `verify` share their name with their module and are
imported from it: ``from koa_kit.data.audit import audit``.
"""

from importlib import import_module

_HOMES = {
    "find_dataset": "locate",
    "load_cohort": "load",
    "load_followup": "sources.followup",
    "load_manifest": "manifest",
    "progression": "sources.followup",
    "read_oai_tables": "sources.followup",
    "read_radiograph": "radiograph",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"koa_kit.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
