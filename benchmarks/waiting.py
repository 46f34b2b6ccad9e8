"""What OpenMP's threads do while they wait: the cost of letting them sleep, idle and next to a busy process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {
    "spinning (libgomp's default)": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ""},
    "sleeping at once": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": ""},
    "3,000 spins (the kit's default)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"},
}
BUSY = "while True: pass"
STEP = """
import json
from benchmarks.step import bench_step
record = bench_step("lite0-minilm", 128, 16, steps=8, device="cpu", usual=False)
print(json.dumps({name: record[name] for name in ("ours", "limit", "ours_to_limit")}))
"""


@contextmanager
def busy_process(wanted: bool) -> Iterator[None]:
    """Another process that takes all it can get of one core, inside the block."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def bench_waiting(repeats: int = 3) -> dict:
    """Seconds of a smoke training of four epochs, and images/s of a lite0 step at 128 px, by setting and company.

    Settings take turns, so that a slow minute of the machine meets all of them.
    """
    rows = []
    for busy in (False, True):
        times = {name: ([], []) for name in SETTINGS}
        with busy_process(busy):
            for _ in range(repeats):
                for name, setting in SETTINGS.items():
                    # an empty value is as good as none to libgomp, and keeps the kit from setting its own
                    environment = os.environ | setting
                    times[name][0].append(_smoke(environment))
                    times[name][1].append(_step(environment))
        for name, (smoke, step) in times.items():
            rows.append({"setting": name, "busy": busy, "smoke_seconds": statistics.median(smoke)})
            rows[-1]["images_per_second"] = statistics.median(step)
    return {"what": "waiting", "repeats": repeats, "rows": rows}


def _smoke(environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "koa_kit.cli", "train", "x", "--runs", folder, "--set", "epochs=4"]
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - started


def _step(environment: dict[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", STEP], env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["ours"]["images_per_second"]
