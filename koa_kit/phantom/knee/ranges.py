"""Records whose numbers declare the range they must lie in."""

from __future__ import annotations

from dataclasses import field, fields

from koa_kit.errors import KoaError


def number(default: float, low: float, high: float, **further):
    """Field of a dataclass from `Ranged`: a number from `low` to `high`; `further` is kept as metadata."""
    return field(default=default, metadata={"range": (low, high), **further})


class Ranged:
    """Base of dataclasses that refuse, with a `KoaError` that names the field, a `number` outside its range."""

    def __post_init__(self):
        for name, (low, high) in self.ranges().items():
            if not low <= getattr(self, name) <= high:
                raise KoaError(f"{name} is {getattr(self, name)}.", remedy=f"Give a number from {low} to {high}.")

    @classmethod
    def ranges(cls) -> dict[str, tuple[float, float]]:
        """Least and greatest value of each `number`, by name."""
        return {entry.name: entry.metadata["range"] for entry in fields(cls) if "range" in entry.metadata}
