"""Grids with a name: rows of choices, what they share, and how often each is trained."""

from __future__ import annotations

from dataclasses import dataclass

from koa_kit.comparison.trial import Cell
from koa_kit.errors import KoaError
from koa_kit.losses import CONSISTENCY_FORMS
from koa_kit.training.config import TrainConfig

SIDES = {
    "plain": {"method": "plain"},
    "random-flip": {"method": "random_flip"},
    "canonical-side": {"method": "canonical_side"},
    "flip-pooling": {"method": "flip_pooling"},
    "symmetry": {"method": "symmetry"},
    "symmetry+consistency": {"method": "symmetry_consistency"},
    "image-only": {"method": "plain", "head": "linear"},
}
"""Every way of treating left and right, and the same image tower without words."""

FORMS = {
    f"consistency-{form}-{weight:g}": {"method": "symmetry_consistency", "form": form, "consistency": weight}
    for form in CONSISTENCY_FORMS
    for weight in (0.1, 1.0)
    if (form, weight) != (TrainConfig.form, TrainConfig.consistency)
}
"""Both losses of the paper with each form of the second, which it does not state, at two weights. The sixth, of the
default form and weight, is the row "symmetry+consistency" of `SIDES`."""

ORDINAL = {
    "cdw-ce": {"loss": "cdw_ce", "distance_power": 2.0},
    "corn": {"loss": "corn"},
    "soft-labels": {"loss": "soft_labels", "soft_width": 0.6},
    # inverse square roots of the shares of grades in train, mean 1
    "class-weights": {"grade_weights": (0.55, 0.81, 0.68, 0.96, 2.0)},
}
"""What others ask of an ordinal grade; each on top of one method for all, so that only the loss differs."""


@dataclass(frozen=True)
class Preset:
    """A grid by name.

    Attributes
    ----------
    about
        What it asks, in one sentence.
    dataset
        The knees it is meant for.
    config
        What all rows share.
    rows
        Name of a row to its changed choices.
    seeds
        Runs a row.
    baseline
        The row that others are compared with.
    base, beside
        Another preset with the same choices shared, and rows of it that stand beside the own ones without being
        trained again.
    rounded
        Those of them whose answers are shown once more with the expected grade rounded, which costs no training.
    """

    about: str
    dataset: str
    config: TrainConfig
    rows: dict[str, dict]
    seeds: int = 3
    baseline: str = "random-flip"
    base: str = ""
    beside: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    def cells(self, changes: list[str] | None = None, seeds: int | None = None) -> list[Cell]:
        """Cells of all seeds x rows, every row once before any row twice.

        Parameters
        ----------
        changes
            Choices other than the preset's, as ``NAME=VALUE``; a row's own choices stand above them.
        seeds
            Runs a row; omitted, as many as the preset says.
        """
        shared = self.config.with_text(changes or [])
        return [
            Cell(f"{row}/seed-{seed}", shared.with_changes(**chosen, seed=seed), row)
            for seed in range(seeds or self.seeds)
            for row, chosen in self.rows.items()
        ]


CPU = TrainConfig(
    towers="lite0-minilm",
    image_size=120,
    crop="joint",
    normalize="per_image",
    regime="finetune",
    epochs=6,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=0.05,
    warmup=0.2,
    ema=0.99,
    label_smoothing=0.1,
    augment=1.0,
    development=0.2,
)
"""Two cores: EfficientNet-lite0, the joint band at 120 px, six epochs of four fifths of the train patients."""

MINIATURE = TrainConfig.for_scale("smoke", image_size=64, epochs=7, batch_size=32, learning_rate=4e-3, development=0.2)
"""Two or three seconds a cell, on phantoms: smaller pictures buy more epochs, and the models are better for it."""

ORDINAL_METHOD = "canonical-side"
"""Ordinal losses stand on the way of treating sides that came out best on val at the price of a plain training."""


def _ordinal(about: str, base: str, config: TrainConfig, **choices) -> Preset:
    """Each loss of `ORDINAL` on that method, beside cross-entropy on it, which `base` has trained."""
    rows = {row: SIDES[ORDINAL_METHOD] | chosen for row, chosen in ORDINAL.items()}
    dataset = "phantom" if config is MINIATURE else "oai-kl224"
    own = (ORDINAL_METHOD,)
    return Preset(about, dataset, config, rows, baseline=ORDINAL_METHOD, base=base, beside=own, rounded=own, **choices)


PRESETS = {
    "sides-cpu": Preset("Does symmetry help, by how much, and beyond noise?", "oai-kl224", CPU, SIDES),
    "forms-cpu": Preset(
        "Does the form of the Consistency Loss matter?",
        "oai-kl224",
        CPU,
        FORMS,
        baseline="symmetry",
        base="sides-cpu",
        beside=("symmetry", "symmetry+consistency"),
    ),
    "ordinal-cpu": _ordinal("Do ordinal losses help early grades?", "sides-cpu", CPU),
    "headline-cpu": Preset(
        "One row of the published comparison again.",
        "oai-kl224",
        CPU,
        {"random-flip": SIDES["random-flip"]},
        seeds=1,
        base="sides-cpu",
    ),
    "miniature": Preset("The same comparison on made-up knees, in a minute.", "phantom", MINIATURE, SIDES, seeds=2),
    "miniature-ordinal": _ordinal("The ordinal losses on made-up knees.", "miniature", MINIATURE, seeds=2),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    KoaError
        If there is none, naming those there are.
    """
    if name not in PRESETS:
        raise KoaError(f"There is no preset {name!r}.", remedy=f"Choose from {', '.join(PRESETS)}.")
    return PRESETS[name]
