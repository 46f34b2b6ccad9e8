"""Grids with a name: arms of choices, what they share, and how often each is trained."""

from __future__ import annotations

from dataclasses import dataclass

from koa_kit.comparison.trial import Trial
from koa_kit.errors import KoaError
from koa_kit.losses import CONSISTENCY_FORMS
from koa_kit.training.config import TrainConfig

SIDES: dict[str, dict] = {
    "plain": {"method": "plain"},
    "random-flip": {"method": "random_flip"},
    "canonical-side": {"method": "canonical_side"},
    "flip-pooling": {"method": "flip_pooling"},
    "symmetry": {"method": "symmetry"},
    "symmetry+consistency": {"method": "symmetry_consistency"},
    "image-only": {"method": "plain", "head": "linear"},
}
"""Every way of treating left and right, and the same image tower without words."""

FORMS: dict[str, dict] = {
    f"consistency-{form}-{weight:g}": {"method": "symmetry_consistency", "form": form, "consistency": weight}
    for form in CONSISTENCY_FORMS
    for weight in (0.1, 1.0)
    if (form, weight) != (TrainConfig().form, TrainConfig().consistency)
}
"""Both losses of the paper with each form of the second, which it does not state, at two weights. The sixth, of the
default form and weight, is the arm "symmetry+consistency" of `SIDES`."""

# the way of treating sides that came out best on val at the price of a plain training
ORDINAL_METHOD = "canonical-side"

_LOSSES: dict[str, dict] = {
    "cdw-ce": {"loss": "cdw_ce", "distance_power": 2.0},
    "corn": {"loss": "corn"},
    "soft-labels": {"loss": "soft_labels", "soft_width": 0.6},
    # inverse square roots of the shares of grades in train, mean 1
    "class-weights": {"grade_weights": (0.55, 0.81, 0.68, 0.96, 2.0)},
}
ORDINAL: dict[str, dict] = {arm: SIDES[ORDINAL_METHOD] | loss for arm, loss in _LOSSES.items()}
"""What others ask of an ordinal grade; each on top of one method for all, so that only the loss differs."""


@dataclass(frozen=True)
class Preset:
    """A grid by name."""

    about: str  # what it asks, in one sentence
    dataset: str  # the knees it is meant for
    config: TrainConfig  # what all arms share
    arms: dict[str, dict]  # name of each to its changed choices
    seeds: int = 3  # runs per arm
    baseline: str = "random-flip"  # the arm that others are compared with
    base: str = ""  # another preset with the same choices shared
    base_arms: tuple[str, ...] = ()  # arms of that one, which stand before the own ones without being trained again
    rounded: bool = False  # those arms are shown once more with the expected grade rounded, which costs no training

    def trials(self, changes: list[str] | None = None, seeds: int | None = None) -> list[Trial]:
        """Trials of all seeds x arms, every arm once before any arm twice.

        `changes` are choices other than the preset's, as ``NAME=VALUE``; an arm's own choices stand above them.
        """
        shared = self.config.with_text(changes or [])
        return [
            Trial(f"{arm}/seed-{seed}", shared.with_changes(**choices, seed=seed), arm)
            for seed in range(seeds or self.seeds)
            for arm, choices in self.arms.items()
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
    holdout=0.2,
)
"""Two cores: EfficientNet-lite0, the joint band at 120 px, six epochs of four fifths of the train patients."""

MINIATURE = TrainConfig.for_scale("smoke", image_size=64, epochs=7, batch_size=32, learning_rate=4e-3, holdout=0.2)
"""Two or three seconds per trial, on phantoms: smaller images buy more epochs, and the models are better for it."""

_ON_ONE_METHOD: dict = {"baseline": ORDINAL_METHOD, "base_arms": (ORDINAL_METHOD,), "rounded": True}

PRESETS = {
    "sides-cpu": Preset("Does symmetry help, by how much, and beyond noise?", "oai-kl224", CPU, SIDES),
    "forms-cpu": Preset(
        "Does the form of the Consistency Loss matter?",
        "oai-kl224",
        CPU,
        FORMS,
        baseline="symmetry",
        base="sides-cpu",
        base_arms=("symmetry", "symmetry+consistency"),
    ),
    "ordinal-cpu": Preset(
        "Do ordinal losses help early grades?", "oai-kl224", CPU, ORDINAL, base="sides-cpu", **_ON_ONE_METHOD
    ),
    "headline-cpu": Preset(
        "One arm of the published comparison again.",
        "oai-kl224",
        CPU,
        {"random-flip": SIDES["random-flip"]},
        seeds=1,
        base="sides-cpu",
    ),
    "miniature": Preset("The same comparison on synthetic knees, in a minute.", "phantom", MINIATURE, SIDES, seeds=2),
    "miniature-ordinal": Preset(
        "The ordinal losses on synthetic knees.",
        "phantom",
        MINIATURE,
        ORDINAL,
        seeds=2,
        base="miniature",
        **_ON_ONE_METHOD,
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name, or a `KoaError` naming those there are."""
    if name not in PRESETS:
        raise KoaError(f"There is no preset {name!r}.", remedy=f"Choose from {', '.join(PRESETS)}.")
    return PRESETS[name]
