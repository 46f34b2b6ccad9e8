"""Every knee once before any knee twice, in batches of one size; an epoch can be drawn again."""

import pytest
import torch

from koa_kit.training import TrainConfig
from koa_kit.training.batches import EpochSampler


def order(knees, seed=0, **choices):
    return EpochSampler(knees, TrainConfig(**choices), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("knees", "batch_size"), [(12, 4), (10, 4), (3, 8), (7, 7), (5, 1)])
def test_every_knee_is_met_once_before_any_is_met_twice(knees, batch_size):
    drawn = order(knees, batch_size=batch_size)
    rows = torch.cat([batch.rows for _ in range(5) for batch in drawn.epoch()])
    for shuffle in rows[: len(rows) // knees * knees].split(knees):
        assert shuffle.sort().values.tolist() == list(range(knees))


@pytest.mark.parametrize(("knees", "batch_size", "sizes"), [(10, 4, [4, 4, 4]), (3, 8, [3])])
def test_all_batches_have_one_size(knees, batch_size, sizes):
    drawn = order(knees, batch_size=batch_size)
    assert [[len(batch.rows) for batch in drawn.epoch()] for _ in range(3)] == [sizes] * 3


def test_an_epoch_is_drawn_again_from_the_state_before_it():
    first = order(10, batch_size=4, method="random_flip", mixup=0.5)
    first.epoch()
    state, pending = first.generator.get_state(), first.pending
    expected = first.epoch()
    again = order(10, batch_size=4, method="random_flip", mixup=0.5, seed=5)
    again.generator.set_state(state)
    again.pending = pending
    for ours, theirs in zip(again.epoch(), expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours[:3], theirs[:3], strict=True))
        assert ours.share == theirs.share


def test_the_shares_of_two_processes_make_up_the_batch():
    (batch,) = order(6, batch_size=6, method="random_flip").epoch()
    shares = [batch.part(rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share.rows for share in shares]), batch.rows)
    assert torch.equal(torch.cat([share.mirrored for share in shares]), batch.mirrored)
    assert torch.equal(torch.cat([share.changes for share in shares], dim=1), batch.changes)


def test_nothing_is_drawn_that_the_method_does_not_need():
    (plain,) = order(4, batch_size=4, augment=0).epoch()
    assert plain.mirrored is None
    assert plain.changes is None


def test_a_mixed_batch_lays_each_of_its_knees_over_the_next():
    (batch,) = order(6, batch_size=6, method="random_flip", mixup=1.0).epoch()
    assert batch.over.rows.tolist() == batch.rows.roll(1).tolist()
    assert torch.equal(batch.over.changes, batch.changes.roll(1, 1))
    assert batch.over.over is None
    assert 0 <= batch.share <= 0.5
    shares = [batch.part(rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share.over.rows for share in shares]), batch.over.rows)


def test_shares_of_the_other_knee_fill_their_range_and_no_more():
    shares = torch.tensor([batch.share for batch in order(400, batch_size=1, mixup=0.4).epoch()])
    assert shares.max() <= 0.2
    assert shares.mean().item() == pytest.approx(0.1, abs=0.015)


def test_mixing_draws_nothing_where_it_is_off():
    """A run of an earlier version repeats itself."""
    plain, mixed = order(8, batch_size=4).epoch()[0], order(8, batch_size=4, mixup=0.5).epoch()[0]
    assert plain.over is None
    assert torch.equal(plain.rows, mixed.rows)
    assert torch.equal(plain.changes, mixed.changes)
