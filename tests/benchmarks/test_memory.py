"""Peak memory is what the system says; a batch grows while it pays and fits."""

import resource
import sys
from itertools import pairwise
from unittest.mock import Mock, call

import pytest
import torch

from benchmarks.memory import largest_batch, peak_memory_mb
from koa_kit.errors import KoaError


def test_peak_memory_is_what_the_operating_system_says():
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    assert peak_memory_mb()["process"] == pytest.approx(told, rel=0.1)


def saturating(batch: int) -> float:
    """Seconds of a step that costs as much as 24 knees before the first."""
    return (24 + batch) / 1000


def test_the_batch_grows_while_it_pays():
    sizes = [8, 16, 32, 64, 128, 256, 512, 1024]
    rates = [size / saturating(size) for size in sizes]
    chosen = sizes.index(largest_batch(saturating, sizes))
    gains = [after / before for before, after in pairwise(rates)]
    assert all(gain >= 1.03 for gain in gains[:chosen])
    assert gains[chosen] < 1.03
    assert 0 < chosen < len(sizes) - 1


def test_the_batch_is_the_last_that_fits_into_memory():
    small_gpu = Mock(side_effect=[1.0, 1.0, 1.0, torch.OutOfMemoryError("out of memory")])
    assert largest_batch(small_gpu, [16, 32, 64, 128, 256]) == 64
    assert small_gpu.call_args_list == [call(16), call(32), call(64), call(128)]


def test_where_no_batch_fits_the_user_is_told_and_another_error_is_not_hidden():
    with pytest.raises(KoaError, match="smallest batch"):
        largest_batch(Mock(side_effect=torch.OutOfMemoryError), [8, 16])
    with pytest.raises(ZeroDivisionError):
        largest_batch(Mock(side_effect=ZeroDivisionError), [8, 16])
