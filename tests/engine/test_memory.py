"""Memory is kept from step to step where there is plenty, and pages of read files are let go."""

import os
import subprocess
import sys

import numpy as np
import pytest

from koa_kit.engine.memory import release_pages

FAULTS = """
import resource, sys, torch
from koa_kit.engine import memory
memory._free_memory = lambda: float(sys.argv[1])
held = memory.tune_memory()
faults = []
# the first block is larger: a few small objects that move into it leave room for the next
for count in (40_000_000, *[20_000_000] * 5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(count)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(held.replace(" ", "-"), min(faults[1:]))
"""


@pytest.mark.parametrize(
    ("free", "shell", "expected"),
    [(1e10, {}, "held"), (1e9, {}, "as-it-was"), (1e10, {"KOA_LEAN_MEMORY": "1"}, "handed-back")],
)
def test_memory_is_held_where_there_is_plenty_and_not_fetched_anew(free, shell, expected):
    command = [sys.executable, "-c", FAULTS, str(free)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | shell)
    held, faults = done.stdout.split()
    if sys.platform == "linux":
        assert held == expected
        assert (int(faults) < 1000) == (expected == "held")


def test_released_pages_of_a_file_are_read_again(tmp_path):
    np.save(tmp_path / "knees.npy", np.arange(100_000, dtype=np.uint8))
    mapped = np.load(tmp_path / "knees.npy", mmap_mode="r")
    total = int(mapped.sum())
    release_pages(mapped[10:])
    assert int(mapped.sum()) == total
    own = np.arange(5)
    release_pages(own)
    assert own.tolist() == [0, 1, 2, 3, 4]
