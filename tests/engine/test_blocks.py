"""Depths: every parameter of every kind of tower has one, and freezing by depth freezes what it says."""

import pytest
import timm
import torch
from open_clip.model import VisionTransformer
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from koa_kit.engine.blocks import block_depths
from koa_kit.model import make_towers


def depth_of(tower: nn.Module) -> dict[str, int]:
    """Depths with their completeness checked: all parameters, no gap from 0 upwards."""
    depths = block_depths(name for name, _ in tower.named_parameters())
    assert list(depths) == [name for name, _ in tower.named_parameters()]
    assert set(depths.values()) == set(range(max(depths.values()) + 1))
    return depths


@pytest.fixture(scope="module")
def lite0_minilm():
    return make_towers("lite0-minilm", image_size=64)


def test_koa_tiny_has_three_blocks_between_stem_and_head():
    depths = depth_of(make_towers("koa-tiny", image_size=32).image)
    found = {name.removeprefix("trunk.")[:8]: depth for name, depth in depths.items()}
    expected = {"stem.0.w": 0, "stem.1.w": 0, "stem.1.b": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3}
    assert found == expected | {"head.wei": 4, "head.bia": 4}


def test_lite0_has_seven_stages_and_its_wide_head_comes_after_them(lite0_minilm):
    depths = depth_of(lite0_minilm.image)
    assert {depths[name] for name in ("conv_stem.weight", "bn1.weight", "bn1.bias")} == {0}
    assert {depths[name] for name in ("conv_head.weight", "bn2.weight", "bn2.bias")} == {8}
    for stage in range(7):
        inside = {depth for name, depth in depths.items() if name.startswith(f"blocks.{stage}.")}
        assert inside == {stage + 1}, "all the blocks of a stage lie at one depth"


def test_minilm_has_six_layers_and_nothing_after_them(lite0_minilm):
    depths = depth_of(lite0_minilm.text)
    assert {depth for name, depth in depths.items() if ".embeddings." in name} == {0}
    for name, depth in depths.items():
        if ".layer." in name:
            assert depth == int(name.split(".layer.")[1].split(".")[0]) + 1
    assert max(depths.values()) == 6


def test_a_vision_transformer_ends_with_its_projection_though_it_is_registered_first():
    with torch.device("meta"):
        tower = VisionTransformer(32, 16, width=32, layers=12, heads=2, mlp_ratio=2, output_dim=16)
    depths = depth_of(tower)
    assert next(iter(depths)) == "class_embedding"
    start = ("class_embedding", "positional_embedding", "conv1.weight", "ln_pre.weight", "ln_pre.bias")
    assert {depths[name] for name in start} == {0}
    assert {depths[name] for name in ("ln_post.weight", "ln_post.bias", "proj")} == {13}
    assert depths["transformer.resblocks.1.mlp.c_fc.weight"] == 2
    assert depths["transformer.resblocks.11.mlp.c_fc.weight"] == 12, "resblocks.11 is not resblocks.1"


def test_a_text_transformer_ends_with_its_projection_though_it_is_registered_first():
    depths = depth_of(make_towers("koa-tiny", image_size=32).text)
    assert {depths["positional_embedding"], depths["token_embedding.weight"]} == {0}
    assert depths["transformer.resblocks.0.ln_1.weight"] == 1
    assert {depths[name] for name in ("ln_final.weight", "ln_final.bias", "text_projection")} == {3}


def test_a_clip_resnet_has_four_layers_under_its_attention_pool():
    with torch.device("meta"):
        depths = depth_of(ModifiedResNet((2, 1, 1, 1), output_dim=16, heads=2, image_size=32, width=8))
    stem = {depth for name, depth in depths.items() if name.startswith(("conv", "bn"))}
    pool = {depth for name, depth in depths.items() if name.startswith("attnpool.")}
    assert (stem, pool) == ({0}, {5})
    assert depths["layer1.1.conv1.weight"] == 1
    assert depths["layer4.0.conv1.weight"] == 4


@pytest.mark.parametrize(("name", "blocks"), [("convnext_atto", 4), ("vit_tiny_patch16_224", 12)])
def test_towers_of_timm_are_understood_inside_open_clip_too(name, blocks):
    with torch.device("meta"):
        tower = nn.ModuleDict({"trunk": timm.create_model(name)})
    assert max(depth_of(tower).values()) == blocks + 1


def test_a_tower_without_blocks_lies_at_one_depth():
    assert set(block_depths(["0.weight", "0.bias", "1.weight"]).values()) == {0}
