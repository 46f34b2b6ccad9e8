"""Depths: every parameter of every kind of tower has one."""

import pytest
import timm
from open_clip.model import VisionTransformer
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from koa_kit.engine.blocks import block_depths
from koa_kit.model import make_towers


def blocks(start: str, count: int) -> dict[str, int]:
    return {f"{start}{number}.": number + 1 for number in range(count)}


# how to make each tower, and the depth of what its parameters' names begin with
TOWERS = {
    "koa-tiny": (
        lambda: make_towers("koa-tiny", image_size=32).image,
        {"trunk.stem.": 0, **blocks("trunk.blocks.", 3), "trunk.head.": 4},
    ),
    "words of koa-tiny": (
        lambda: make_towers("koa-tiny", image_size=32).text,
        {"positional_embedding": 0, "token_embedding.": 0, **blocks("transformer.resblocks.", 2)}
        | {"ln_final.": 3, "text_projection": 3},
    ),
    "lite0": (
        lambda: make_towers("lite0-minilm", image_size=64).image,
        {"conv_stem.": 0, "bn1.": 0, **blocks("blocks.", 7), "conv_head.": 8, "bn2.": 8},
    ),
    "minilm": (
        lambda: make_towers("lite0-minilm", image_size=64).text,
        {"transformer.embeddings.": 0, **blocks("transformer.encoder.layer.", 6)},
    ),
    "a vision transformer": (
        lambda: VisionTransformer(32, 16, width=32, layers=12, heads=2, mlp_ratio=2, output_dim=16),
        # its projection is registered before its blocks
        {"class_embedding": 0, "positional_embedding": 0, "conv1.": 0, "ln_pre.": 0}
        | {**blocks("transformer.resblocks.", 12), "ln_post.": 13, "proj": 13},
    ),
    "a ResNet of CLIP": (
        lambda: ModifiedResNet((2, 1, 1, 1), output_dim=16, heads=2, image_size=32, width=8),
        {"conv": 0, "bn": 0, "layer1.": 1, "layer2.": 2, "layer3.": 3, "layer4.": 4, "attnpool.": 5},
    ),
    "timm's ConvNeXt in open_clip": (
        lambda: nn.ModuleDict({"trunk": timm.create_model("convnext_atto")}),
        {"trunk.stem.": 0, **blocks("trunk.stages.", 4), "trunk.head.": 5},
    ),
    "timm's transformer in open_clip": (
        lambda: nn.ModuleDict({"trunk": timm.create_model("vit_tiny_patch16_224")}),
        {"trunk.patch_embed.": 0, **blocks("trunk.blocks.", 12), "trunk.head.": 13},
    ),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_stem_blocks_and_what_comes_after_them_lie_at_depths_without_a_gap(tower):
    make, expected = TOWERS[tower]
    names = [name for name, _ in make().named_parameters()]
    depths = block_depths(names)
    assert list(depths) == names
    assert set(depths.values()) == set(range(max(expected.values()) + 1))
    for start, depth in expected.items():
        assert {found for name, found in depths.items() if name.startswith(start)} == {depth}, start


def test_a_tower_without_blocks_lies_at_one_depth():
    assert set(block_depths(["0.weight", "0.bias", "1.weight"]).values()) == {0}
