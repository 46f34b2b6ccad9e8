"""Depths: every parameter of every kind of tower has one, and freezing by depth freezes what it says."""

import pytest
import timm
import torch
from open_clip.model import VisionTransformer
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from koa_kit.errors import KoaError
from koa_kit.model import make_model, make_towers
from koa_kit.model.blocks import block_depths, train_last_blocks


def depth_of(tower: nn.Module) -> dict[str, int]:
    """Depths with their completeness checked: all parameters, no gap from 0 upwards."""
    depths = block_depths(tower)
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
    assert set(block_depths(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))).values()) == {0}


def test_the_last_blocks_are_trained_with_the_head_and_nothing_below_them():
    model = make_model("koa-tiny", image_size=32)
    train_last_blocks(model, 2)
    trained = {name for name, p in model.image_tower.named_parameters() if p.requires_grad}
    assert {name.split(".weight")[0].split(".bias")[0] for name in trained} == {
        "trunk.blocks.1.0", "trunk.blocks.1.1", "trunk.blocks.2.0", "trunk.blocks.2.1", "trunk.head",
    }  # fmt: skip
    assert all(p.requires_grad for p in model.component("projections"))
    assert not any(p.requires_grad for p in model.component("text"))


def test_all_blocks_freeze_the_stem_only_and_none_changes_nothing():
    model = make_model("koa-tiny", image_size=32)
    train_last_blocks(model, 0)
    assert all(p.requires_grad for p in model.image_tower.parameters())
    train_last_blocks(model, 3)
    frozen = {name for name, p in model.image_tower.named_parameters() if not p.requires_grad}
    assert frozen == {"trunk.stem.0.weight", "trunk.stem.1.weight", "trunk.stem.1.bias"}


def test_a_step_changes_the_last_block_and_leaves_the_frozen_ones_with_their_statistics():
    model = make_model("koa-tiny", image_size=32)
    train_last_blocks(model, 1)
    before = {name: value.clone() for name, value in model.image_tower.state_dict().items()}
    model.train()
    optimiser = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    images = torch.randint(0, 256, (8, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model(images).logsumexp(1).sum().backward()
    optimiser.step()
    changed = {name for name, value in model.image_tower.state_dict().items() if not torch.equal(value, before[name])}
    assert {".".join(name.split(".")[1:3]) for name in changed} == {"blocks.2", "head.weight", "head.bias"}
    assert "trunk.blocks.2.1.running_mean" in changed


@pytest.mark.parametrize("blocks", [4, -1])
def test_more_blocks_than_there_are_is_refused_with_their_number(blocks):
    model = make_model("koa-tiny", image_size=32)
    with pytest.raises(KoaError, match="has 3 blocks"):
        train_last_blocks(model, blocks)
    assert all(p.requires_grad for p in model.image_tower.parameters())


def test_a_locked_image_tower_has_no_blocks_to_train():
    model = make_model("koa-tiny", image_size=32, locked=("image", "text"))
    with pytest.raises(KoaError, match="locked"):
        train_last_blocks(model, 1)
    train_last_blocks(model, 0)
    assert not any(p.requires_grad for p in model.image_tower.parameters())
