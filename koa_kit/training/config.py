"""What a run is: every choice that changes its result, in one record that is written beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import yaml

from koa_kit.errors import KoaError
from koa_kit.losses import CONSISTENCY_FORMS, LOSSES
from koa_kit.model.answers import HEADS
from koa_kit.model.crops import CROPS
from koa_kit.model.towers import EXPOSURES
from koa_kit.paths import replacing

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

SCORED_VIEWS = ("one", "both")
PRECISIONS = ("auto", "float32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """Choices of one run.

    Attributes
    ----------
    towers, prompts
        Names for `make_towers` and `prompt_set`; five texts (or tuples of texts) are prompts of one's own.
    image_size, crop, exposure
        Width in pixels, part and normalisation of what the image tower sees; see `make_towers`.
    method
        One of `METHODS`.
    regime
        "probe" or "finetune".
    head
        Of `HEADS`: "prompts", or "linear" for the same image tower without words.
    loss, distance_power, soft_width
        What is asked of each view, one of `LOSSES`, and its two numbers; see `grade_loss`. "corn" also has the model
        climb from grade to grade, see `continuation_logits`.
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
    feature_dropout
        See `ClipKoa`; for probes.
    scored_views
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
    development
        Share of the train patients set aside as a development test, see `set_aside`: never trained on, scored once
        when the run is finished.
    seed
        Of initial weights, order and augmentation.
    """

    towers: str = "koa-tiny"
    prompts: str | tuple = "paper"
    image_size: int = 80
    crop: str = "whole"
    exposure: str = "tower"
    method: str = "plain"
    regime: str = "finetune"
    head: str = "prompts"
    loss: str = "cross_entropy"
    distance_power: float = 2.0
    soft_width: float = 0.6
    symmetry: float = 1.0
    consistency: float = 1.0
    form: str = "mse_logits"
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.25
    tower_rate: float = 1.0
    layer_decay: float = 1.0
    trained_blocks: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    wise_ft: float = 1.0
    label_smoothing: float = 0.0
    grade_weights: tuple[float, ...] | None = None
    augment: float = 1.0
    mixup: float = 0.0
    feature_dropout: float = 0.0
    scored_views: str = "one"
    patience: int = 0
    train_text: bool = False
    precision: str = "auto"
    compile: str = ""
    development: float = 0.0
    seed: int = 0

    def __post_init__(self):
        choices = {
            "method": tuple(METHODS),
            "regime": tuple(REGIMES),
            "crop": tuple(CROPS),
            "exposure": tuple(EXPOSURES),
            "head": tuple(HEADS),
            "loss": tuple(LOSSES),
            "form": CONSISTENCY_FORMS,
            "scored_views": SCORED_VIEWS,
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise KoaError(f"There is no {name} {getattr(self, name)!r}.", remedy=f"Choose from {list(allowed)}.")
        for name in ("epochs", "batch_size", "learning_rate", "image_size", "distance_power", "soft_width"):
            if not getattr(self, name) > 0:
                raise KoaError(f"{name} must be above 0.", where=f"{name}={getattr(self, name)!r}")
        weights = ("symmetry", "consistency", "weight_decay", "augment", "tower_rate", "clip_norm")
        for name in (*weights, "patience", "trained_blocks"):
            if getattr(self, name) < 0:
                raise KoaError(f"{name} must not be negative.", where=f"{name}={getattr(self, name)!r}")
        for name in ("warmup", "label_smoothing", "feature_dropout", "ema", "development"):
            if not 0 <= getattr(self, name) < 1:
                raise KoaError(f"{name} must lie in [0, 1).", where=f"{name}={getattr(self, name)!r}")
        if not 0 <= self.mixup <= 1:
            raise KoaError("mixup must lie in [0, 1].", where=f"mixup={self.mixup!r}")
        for name in ("layer_decay", "wise_ft"):
            if not 0 < getattr(self, name) <= 1:
                raise KoaError(f"{name} must lie in (0, 1].", where=f"{name}={getattr(self, name)!r}")
        if self.grade_weights is not None and len(self.grade_weights) != 5:
            raise KoaError("grade_weights needs five numbers.", where=str(self.grade_weights))
        if self.train_text and self.head == "linear":
            raise KoaError("A linear head uses no words, so there is no text tower to train.", where="train_text=True")

    @property
    def loss_weights(self) -> dict[str, float | str]:
        """Arguments of `clip_koa_loss` that method and loss stand for."""
        symmetric = self.method in ("symmetry", "symmetry_consistency")
        return {
            "symmetry": self.symmetry if symmetric else 0.0,
            "consistency": self.consistency if self.method == "symmetry_consistency" else 0.0,
            "form": self.form,
            "loss": self.loss,
            "distance_power": self.distance_power,
            "soft_width": self.soft_width,
        }

    @property
    def link(self) -> str:
        """How the model reads its similarities, one of `koa_kit.model.answers.LINKS`."""
        return "continuation" if self.loss == "corn" else "softmax"

    @property
    def sees_flip(self) -> bool:
        """A training step needs the mirror image too."""
        weights = self.loss_weights
        return self.method == "flip_pooling" or weights["symmetry"] > 0 or weights["consistency"] > 0

    @property
    def locked(self) -> tuple[str, ...]:
        """Components of `ClipKoa` that are not trained."""
        towers = ("image", "text") if self.regime == "probe" else ("text",)
        return tuple(name for name in towers if not (name == "text" and self.train_text))

    def with_changes(self, **changes) -> TrainConfig:
        """The same run with other choices; a misspelt name is refused."""
        known = [entry.name for entry in fields(self)]
        if unknown := set(changes) - set(known):
            raise KoaError(f"A run has no choice {min(unknown)!r}.", remedy=f"Choose from {', '.join(known)}.")
        return replace(self, **changes)

    def with_text(self, changes: list[str]) -> TrainConfig:
        """The same run with choices given as ``NAME=VALUE`` texts, the value read as YAML.

        Examples
        --------
        >>> TrainConfig().with_text(["epochs=3", "method=symmetry"]).epochs
        3
        """
        parsed = {}
        for text in changes:
            name, equals, value = text.partition("=")
            if not equals:
                raise KoaError("A choice must be written NAME=VALUE.", where=text, remedy="For example epochs=12.")
            parsed[name.strip()] = _as_type(name.strip(), yaml.safe_load(value))
        return self.with_changes(**parsed)

    @classmethod
    def for_scale(cls, scale: str, **changes) -> TrainConfig:
        """Choices for "smoke" (seconds, from scratch), "laptop" (lite0 probe) or "full" (the paper's ViT-B/16, GPU)."""
        if scale not in SCALES:
            raise KoaError(f"There is no scale {scale!r}.", remedy=f"Choose from {', '.join(SCALES)}.")
        return SCALES[scale].with_changes(**changes)

    def write(self, path: Path) -> None:
        """Keep the choices as YAML."""
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(asdict(self), sort_keys=False), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Choices kept by `write`."""
        if not Path(path).is_file():
            raise KoaError("There is no run here.", where=path, remedy="Train first: koa train --help.")
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return cls().with_changes(**{name: _frozen(value) for name, value in raw.items()})


def _as_type(name: str, value: object) -> object:
    """Value as the field's kind: YAML reads 1e-3 as text and 1 as a whole number where a rate is meant."""
    kind = {entry.name: entry.type for entry in fields(TrainConfig)}.get(name)
    try:
        if kind in ("int", "float"):
            return {"int": int, "float": float}[kind](value)
    except (TypeError, ValueError):
        raise KoaError(f"{name} must be a number.", where=f"{name}={value}") from None
    if kind == "bool" and not isinstance(value, bool):
        raise KoaError(f"{name} must be true or false.", where=f"{name}={value}")
    return _frozen(value)


def _frozen(value: object) -> object:
    """Lists as YAML gives them, at any depth, as the tuples a frozen record holds."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


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
