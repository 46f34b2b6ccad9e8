"""What a run is: every choice that changes its result, in one record that is written next to the weights."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from koa_kit.configuration import OneOf, changed, choices, frozen, parsed, read_yaml
from koa_kit.engine.blocks import freeze_below
from koa_kit.engine.modes import check_backend
from koa_kit.errors import KoaError
from koa_kit.grades import RULES
from koa_kit.losses import CONSISTENCY_FORMS, LOSSES
from koa_kit.model.clip_koa import ClipKoa, build_model
from koa_kit.model.spec import Component, Crop, Head, ModelSpec, Normalize
from koa_kit.prompts import PromptSet, prompt_set

SYMMETRIC = ("symmetry", "symmetry_consistency")
METHODS = {
    "plain": "cross-entropy over the five prompts, the knee as it lies on the film",
    "random_flip": "plain, with every training knee mirrored at random",
    "canonical_side": "plain, with every left knee mirrored so that all look like right knees",
    "flip_pooling": "logits averaged over the knee and its mirror image inside the model",
    "symmetry": "cross-entropy on the knee and on its mirror image (CLIP-KOA's Symmetry Loss)",
    "symmetry_consistency": "the same plus a penalty where the two answers differ (CLIP-KOA)",
}
"""Ways of treating left and right, the free baselines beside the paper's losses."""

REGIMES = {
    "probe": "towers locked, features cached, projections and temperature trained: seconds",
    "finetune": "all layers of the image tower trained on augmented images",
}

RENAMED = {"exposure": "normalize", "scored_views": "val_views", "development": "holdout"}
RENAMED_OPTIONS = {"own": "per_image", "tower": "pretrained"}
"""Earlier names of choices, and of the options of `normalize`: earlier run folders and commands have them."""

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]


@choices
class TrainConfig:
    """Choices of one run.

    Attributes
    ----------
    towers, prompts, image_size, crop, normalize, head, rule, feature_dropout, seed
        See `ModelSpec`; five texts (or tuples of texts) are prompts of one's own.
    method
        One of `METHODS`.
    regime
        "probe" or "finetune".
    loss, distance_power, soft_width
        What is asked of each view, one of `LOSSES`, and its two numbers; see `grade_loss`. With "corn" the model's
        output is "corn" too.
    symmetry, consistency, form
        Weights and form of the losses for the methods that use them (the paper states none of the three).
    epochs, batch_size, learning_rate, weight_decay, warmup
        AdamW with a one-cycle schedule; `warmup` is the share of steps that climb. Several processes share one batch.
    tower_rate, layer_decay
        Factor on the learning rate for the towers, where they are trained, and from each block to the one below it.
    trained_blocks
        Only so many of the last blocks of the image tower are trained; 0 trains all.
    clip_norm
        Largest norm of the gradient; 0 does not clip.
    ema
        Decay of a moving average of the weights, which is then what is scored and kept; 0 is none.
    wise_ft
        Share of the tuned weights in what is scored and kept, the rest being those of the start (WiSE-FT); 1 is tuned.
    label_smoothing, grade_weights
        See `prompt_cross_entropy`; `grade_weights` are five numbers, or nothing for equal ones.
    augment
        Strength of the batch augmentation, 0 none to 1.
    mixup
        Each step shows every knee laid over another of its batch, and asks for both grades by their shares (Zhang et
        al. 2018, arXiv 1710.09412). A step's share of the other is uniform between 0 and half of this, so 1 is that
        paper's alpha of 1; 0 mixes nothing.
    val_views
        By which answers the epoch to keep is chosen on val: "one", the knee as `method` shows it, or "both", the mean
        of its logits and those of the mirror image; for a run that is to answer so, as `package_run` makes it.
    patience
        Stop after so many epochs without a better val QWK; 0 never stops early.
    train_text
        Train the text tower too.
    precision
        "float32", "bf16" (autocast), or "auto": bf16 on a GPU that has it, else float32.
    compile
        Backend of ``torch.compile`` for the image tower, such as "inductor"; empty, it is not compiled.
    holdout
        Share of the train patients held out, see `set_aside`: never trained on, scored once when the run is
        finished.
    """

    towers: str = "koa-tiny"
    prompts: Any = "paper"
    image_size: Annotated[int, Field(gt=0, le=4096)] = 80
    crop: Crop = "whole"
    normalize: Normalize = "pretrained"
    method: Annotated[str, OneOf(METHODS)] = "plain"
    regime: Annotated[str, OneOf(REGIMES)] = "finetune"
    head: Head = "prompts"
    rule: Annotated[str, OneOf(RULES)] = RULES[0]
    loss: Annotated[str, OneOf(LOSSES)] = "cross_entropy"
    distance_power: Positive = 2.0
    soft_width: Positive = 0.6
    symmetry: NotNegative = 1.0
    consistency: NotNegative = 1.0
    form: Annotated[str, OneOf(CONSISTENCY_FORMS)] = "mse_logits"
    epochs: Annotated[int, Field(gt=0)] = 12
    batch_size: Annotated[int, Field(gt=0)] = 64
    learning_rate: Part = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 0.05
    warmup: Share = 0.25
    tower_rate: Annotated[float, Field(ge=0, le=100)] = 1.0
    layer_decay: Part = 1.0
    trained_blocks: Annotated[int, Field(ge=0)] = 0
    clip_norm: NotNegative = 0.0
    ema: Share = 0.0
    wise_ft: Part = 1.0
    label_smoothing: Share = 0.0
    grade_weights: tuple[NotNegative, NotNegative, NotNegative, NotNegative, NotNegative] | None = None
    augment: Strength = 1.0
    mixup: Strength = 0.0
    feature_dropout: Share = 0.0
    val_views: Literal["one", "both"] = "one"
    patience: Annotated[int, Field(ge=0)] = 0
    train_text: bool = False
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: str = ""
    holdout: Share = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self):
        words = self.prompts.prompts if isinstance(self.prompts, PromptSet) else self.prompts
        object.__setattr__(self, "prompts", frozen(words))
        prompt_set(self.prompts)  # refuses what is none
        if self.train_text and self.head == "linear":
            raise KoaError("A linear head uses no words, so there is no text tower to train.", where="train_text=True")

    @property
    def loss_weights(self) -> dict[str, Any]:
        """Arguments of `clip_koa_loss` that method and loss stand for."""
        symmetric = self.method in SYMMETRIC
        return {
            "symmetry": self.symmetry if symmetric else 0.0,
            "consistency": self.consistency if self.method == "symmetry_consistency" else 0.0,
            "form": self.form,
            "loss": self.loss,
            "distance_power": self.distance_power,
            "soft_width": self.soft_width,
        }

    @property
    def spec(self) -> ModelSpec:
        """What the model of this run is."""
        shared = {entry.name for entry in fields(ModelSpec)} & {entry.name for entry in fields(self)}
        return ModelSpec(
            **{name: getattr(self, name) for name in shared},
            output="corn" if self.loss == "corn" else "softmax",
            canonical_side=self.method == "canonical_side",
            flip_pooling=self.method == "flip_pooling",
            locked=self.locked,
        )

    @property
    def sees_flip(self) -> bool:
        """A training step needs the mirror image too."""
        weights = self.loss_weights
        return self.method == "flip_pooling" or weights["symmetry"] > 0 or weights["consistency"] > 0

    @property
    def locked(self) -> frozenset[Component]:
        """Components of `ClipKoa` that are not trained."""
        image: set[Component] = {"image"} if self.regime == "probe" else set()
        return frozenset(image if self.train_text else image | {"text"})

    def with_changes(self, **changes) -> TrainConfig:
        """The same run with other choices; a misspelt name is refused."""
        changes = {RENAMED.get(name, name): value for name, value in changes.items()}
        if changes.get("normalize") in tuple(RENAMED_OPTIONS):
            changes["normalize"] = RENAMED_OPTIONS[changes["normalize"]]
        if not changes.get("compile", True):
            changes["compile"] = ""
        for name, value in changes.items():
            # a whole number may be written 12.0
            if type(getattr(self, name, None)) is int and isinstance(value, float) and value.is_integer():
                changes[name] = int(value)
        return changed(self, changes)

    def with_text(self, changes: list[str]) -> TrainConfig:
        """The same run with choices given as ``NAME=VALUE`` texts, the value read as YAML.

        Examples
        --------
        >>> TrainConfig().with_text(["epochs=3", "method=symmetry"]).epochs
        3
        """
        return self.with_changes(**parsed(changes))

    @classmethod
    def for_scale(cls, scale: str, **changes) -> TrainConfig:
        """Choices for "smoke" (seconds, from scratch), "laptop" (lite0 probe) or "full" (the paper's ViT-B/16, GPU)."""
        if scale not in SCALES:
            raise KoaError(f"There is no scale {scale!r}.", remedy=f"Choose from {', '.join(SCALES)}.")
        return SCALES[scale].with_changes(**changes)

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Choices kept in a run folder's ``config.yaml``."""
        try:
            return cls().with_changes(**read_yaml(path))
        except KoaError as error:
            where = f"{path}: {error.where}" if error.where and error.where != path else path
            raise KoaError(error.what, where=where, remedy=error.remedy) from error


def untrained(config: TrainConfig, *, device: str = "cpu", **other) -> ClipKoa:
    """Model with the weights a run of these choices begins with, its frozen blocks frozen; the same every time.

    `other` are fields of `ModelSpec` in the place of what the choices stand for.
    """
    if config.compile:
        check_backend(config.compile)
    model = build_model(config.spec, device=device, **other)
    if config.trained_blocks:
        if "image" in model.locked:
            raise KoaError(
                "The image tower is locked: none of its blocks is trained.",
                where=f"trained_blocks={config.trained_blocks}",
                remedy="Choose regime=finetune, or trained_blocks=0.",
            )
        freeze_below(model.component("image"), config.trained_blocks)
    return model


SCALES = {
    "smoke": TrainConfig(epochs=18, batch_size=16, learning_rate=3e-3, warmup=0.3, augment=0.2),
    "laptop": TrainConfig(
        towers="lite0-minilm",
        image_size=128,
        regime="probe",
        epochs=30,
        batch_size=256,
        learning_rate=3e-4,
        weight_decay=10.0,
        augment=0.0,
        feature_dropout=0.3,
    ),
    "full": TrainConfig(
        towers="ViT-B-16:openai",
        image_size=224,
        regime="finetune",
        epochs=12,
        batch_size=128,
        learning_rate=1e-3,
        tower_rate=0.02,
        label_smoothing=0.1,
        train_text=True,
    ),
}
