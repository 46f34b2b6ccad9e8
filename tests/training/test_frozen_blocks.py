"""Of a partly trained image tower only the last blocks and what follows them change."""

import pytest
import torch

from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig, untrained

TINY = TrainConfig(image_size=32)


def test_the_last_blocks_are_trained_with_the_head_and_nothing_below_them():
    model = untrained(TINY.with_changes(trained_blocks=2))
    trained = {name for name, p in model.image_tower.named_parameters() if p.requires_grad}
    assert {name.split(".weight")[0].split(".bias")[0] for name in trained} == {
        "trunk.blocks.1.0", "trunk.blocks.1.1", "trunk.blocks.2.0", "trunk.blocks.2.1", "trunk.head",
    }  # fmt: skip
    assert all(p.requires_grad for p in model.component("projections").values())
    assert not any(p.requires_grad for p in model.component("text").values())


def test_all_blocks_freeze_the_stem_only_and_none_changes_nothing():
    model = untrained(TINY.with_changes(trained_blocks=0))
    assert all(p.requires_grad for p in model.image_tower.parameters())
    model = untrained(TINY.with_changes(trained_blocks=3))
    frozen = {name for name, p in model.image_tower.named_parameters() if not p.requires_grad}
    assert frozen == {"trunk.stem.0.weight", "trunk.stem.1.weight", "trunk.stem.1.bias"}


def test_a_step_changes_the_last_block_and_leaves_the_frozen_ones_with_their_statistics():
    model = untrained(TINY.with_changes(trained_blocks=1))
    before = {name: value.clone() for name, value in model.image_tower.state_dict().items()}
    model.train()
    optimiser = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    images = torch.randint(0, 256, (8, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model(images).logsumexp(1).sum().backward()
    optimiser.step()
    changed = {name for name, value in model.image_tower.state_dict().items() if not torch.equal(value, before[name])}
    assert {".".join(name.split(".")[1:3]) for name in changed} == {"blocks.2", "head.weight", "head.bias"}
    assert "trunk.blocks.2.1.running_mean" in changed


@pytest.mark.parametrize(("change", "said"), [({}, "has 3 blocks"), ({"regime": "probe"}, "locked")])
def test_blocks_that_are_not_there_or_locked_are_refused(change, said):
    with pytest.raises(KoaError, match=said):
        untrained(TINY.with_changes(trained_blocks=4, **change))
