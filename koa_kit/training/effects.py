"""Which choices count under which others: one that changes nothing should not be waited for."""

from __future__ import annotations

from collections.abc import Iterable

from koa_kit.training.config import SYMMETRIC, TrainConfig


def without_effect(config: TrainConfig, names: Iterable[str]) -> dict[str, str]:
    """Those of these choices that change nothing in this run, each with the choice under which it would count."""
    trains_tower = bool({"image", "text"} - config.locked)
    counts = {
        "symmetry": (config.method in SYMMETRIC, f"method={' or '.join(SYMMETRIC)}"),
        **dict.fromkeys(("consistency", "form"), (config.method == SYMMETRIC[1], f"method={SYMMETRIC[1]}")),
        "distance_power": (config.loss == "cdw_ce", "loss=cdw_ce"),
        "soft_width": (config.loss == "soft_labels", "loss=soft_labels"),
        "label_smoothing": (config.loss in ("cross_entropy", "corn"), "loss=cross_entropy or corn"),
        **dict.fromkeys(("tower_rate", "layer_decay", "wise_ft"), (trains_tower, "regime=finetune")),
        **dict.fromkeys(("augment", "compile"), (config.regime == "finetune", "regime=finetune")),
        "prompts": (config.head == "prompts", "head=prompts"),
    }
    return {name: counts[name][1] for name in names if name in counts and not counts[name][0]}
