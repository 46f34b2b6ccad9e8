"""Tower registry: pairs of an image tower and a text tower, and where their weights come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from koa_kit.engine.lean_relu6 import keep_less
from koa_kit.engine.weights import LITE, MINILM, lite_weights, minilm_folder, quiet_loading, state_sha256
from koa_kit.errors import KoaError

FROM_SCRATCH = "random"


@dataclass
class Towers:
    """An image tower and a text tower as they come, before the kit joins them."""

    name: str
    image: nn.Module  # float (N, 3, height, width) to features (N, image_width)
    text: nn.Module  # tokens (P, L) to features (P, text_width)
    tokenize: Callable[[list[str]], Tensor]  # P sentences to tokens (P, L)
    image_size: int  # width in pixels of what the image tower sees
    mean: tuple[float, float, float]  # how its pixels, 0 to 1, were normalised
    std: tuple[float, float, float]
    image_width: int
    text_width: int
    # each image is normalised by its own mean and spread instead: what learns from a few hundred knees need not learn
    # exposure too
    per_image: bool = False
    aligned: bool = False  # trained together: their features can be compared before any training of ours
    channels_last: bool = False  # convolutional, and faster in that memory format on a CPU
    # its features are non-negative with a long tail; locked, they are used by their square root (power normalisation,
    # Perronnin et al. 2010), which a linear layer reads better
    compressed: bool = False
    weights: dict[str, str] = field(default_factory=dict)  # "image", "text" to the sha256 of pretrained weights
    quick_gelu: bool = False  # OpenAI's activation; under the wrong one, logits are silently wrong


def make_towers(name: str, *, image_size: int = 0, seed: int = 0, device: str = "cpu") -> Towers:
    """Towers of that name, with their weights.

    Parameters
    ----------
    name
        "koa-tiny" (small, from scratch, no download; its text tower starts from random numbers and knows no language,
        so that a prompt is no more than a name), "lite0-minilm" (EfficientNet-lite0 with ImageNet weights and
        the MiniLM sentence encoder, both out of installed packages), or any open_clip ``model:tag`` such as
        "ViT-B-16:openai", which downloads; "ViT-B-16:random" has the shape without the weights.
    image_size
        Width in pixels; 0 is what the tower was made for.
    seed
        Of weights that start at random.

    Raises
    ------
    KoaError
        If a name is unknown, a weights package is missing or its file is not the published one.
    """
    makers = {"koa-tiny": _koa_tiny} | {f"{size}-minilm": partial(_lite_minilm, size=size) for size in LITE}
    maker = makers.get(name) or (partial(_open_clip, name=name) if ":" in name else None)
    if maker is None:
        raise KoaError(
            f"There are no towers called {name!r}.",
            remedy=f"Choose from {', '.join(makers)}, or an open_clip 'model:tag' such as 'ViT-B-16:openai'.",
        )
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = maker(image_size=image_size)
    towers.image.to(device)
    towers.text.to(device)
    if towers.channels_last:
        towers.image.to(memory_format=torch.channels_last)
    return towers


def _koa_tiny(image_size: int) -> Towers:
    import open_clip

    import koa_kit.engine.small_conv  # noqa: F401 - makes koa_conv known to timm

    open_clip.add_model_config(Path(__file__).parent / "configs" / "koa-tiny.json")
    clip = open_clip.create_model("koa-tiny", pretrained=None, force_custom_text=True)
    return Towers(
        name="koa-tiny",
        image=clip.visual,
        text=clip.text,
        tokenize=open_clip.get_tokenizer("koa-tiny"),
        image_size=image_size or 80,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        per_image=True,
        image_width=64,
        text_width=64,
        channels_last=True,
    )


def _lite_minilm(image_size: int, size: str) -> Towers:
    import timm
    from open_clip.hf_model import HFTextEncoder
    from open_clip.tokenizer import HFTokenizer

    folder = minilm_folder()
    image: Any = timm.create_model(f"tf_efficientnet_{size}", num_classes=0)
    image.load_state_dict(lite_weights(size))
    keep_less(image)
    text = HFTextEncoder(str(folder), output_dim=384, pooler_type="mean_pooler", proj_type=None, pretrained=True)
    tokenizer = HFTokenizer(str(folder), context_length=64, clean="whitespace")
    return Towers(
        name=f"{size}-minilm",
        image=image,
        text=text,
        tokenize=tokenizer,
        image_size=image_size or 128,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        image_width=image.num_features,
        text_width=384,
        channels_last=True,
        compressed=True,
        weights={"image": LITE[size].sha256, "text": MINILM.sha256},
    )


def _open_clip(image_size: int, name: str) -> Towers:
    import open_clip

    model, tag = name.split(":", 1)
    if model not in open_clip.list_models():
        raise KoaError(
            f"open_clip has no model {model!r}.",
            remedy="Run python -c 'import open_clip; print(open_clip.list_pretrained())' for all pairs.",
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in (*tags, FROM_SCRATCH):
        raise KoaError(
            f"open_clip has no weights {tag!r} for {model}.", remedy=f"Choose from {', '.join((*tags, FROM_SCRATCH))}."
        )
    pretrained = None if tag == FROM_SCRATCH else tag
    options = {"force_custom_text": True} | ({"force_image_size": image_size} if image_size else {})
    try:
        clip = open_clip.create_model(model, pretrained=pretrained, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise KoaError(
            f"open_clip could not make {name}: {error}",
            remedy="Downloading weights needs a network once; koa-tiny and lite0-minilm need none.",
        ) from error
    config = open_clip.get_model_config(model)
    size, preprocess = clip.visual.image_size, open_clip.get_model_preprocess_cfg(clip)
    weights = {"image": state_sha256(clip.visual), "text": state_sha256(clip.text)} if pretrained else {}
    return Towers(
        name=name,
        image=clip.visual,
        text=clip.text,
        tokenize=open_clip.get_tokenizer(model),
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        image_width=config["embed_dim"],
        text_width=config["embed_dim"],
        aligned=pretrained is not None,
        channels_last="timm_model_name" in config["vision_cfg"] or isinstance(config["vision_cfg"].get("layers"), list),
        weights=weights,
        quick_gelu=any(type(module).__name__ == "QuickGELU" for module in clip.modules()),
    )
