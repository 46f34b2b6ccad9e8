"""Kill `koa train` at random moments and compare what the resumed run leaves with an uninterrupted one.

``python tests/training/kill_and_resume.py 20`` prints one line a kill and ends with 1 if any result differs.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

COMPARED = ("config.yaml", "model.safetensors", "predictions.parquet", "embeddings.npy", "metrics.json")
CLOCK = ["seconds", "images_per_second", "data_share"]
"""Columns of the history that tell the time, not the training."""


def fingerprint(folder: Path) -> dict[str, str]:
    """sha256 of every result of a run that must not depend on interruptions."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in COMPARED}
    history = pd.read_csv(folder / "history.csv").drop(columns=CLOCK)
    return found | {"history.csv": hashlib.sha256(history.to_csv().encode()).hexdigest()}


def train_command(name: str, dataset: Path, runs: Path, changes: tuple[str, ...]) -> list[str]:
    """`koa train NAME --resume`, keeping the state after every step."""
    options = [part for change in changes for part in ("--set", change)]
    command = (sys.executable, "-m", "koa_kit.cli", "train", name, "--resume", "--dataset", str(dataset))
    return [*command, "--runs", str(runs), "--device", "cpu", "--save-minutes", "0", *options]


def kill_and_resume(dataset: Path, runs: Path, changes: tuple[str, ...], kills: int, seed: int = 0):
    """Yield (seconds at which it was killed, kills it took, same result) for each of `kills` runs.

    Every run is killed at a random moment of the uninterrupted run's duration, resumed, killed once more, and then
    left to its end.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started = time.perf_counter()
    subprocess.run(train_command("whole", dataset, runs, changes), check=True, **quiet)
    duration = time.perf_counter() - started
    expected = fingerprint(runs / "whole")
    draw = random.Random(seed)
    for number in range(kills):
        command = train_command(f"killed-{number}", dataset, runs, changes)
        moments = [draw.uniform(0, duration), draw.uniform(0, duration)]
        killed = 0
        for moment in moments:
            process = subprocess.Popen(command, **quiet)
            try:
                process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                killed += 1
        subprocess.run(command, check=True, **quiet)
        yield moments, killed, fingerprint(runs / f"killed-{number}") == expected


def main(kills: int) -> int:
    from koa_kit.phantom import write_phantom_files

    changes = (
        "image_size=48",
        "epochs=6",
        "batch_size=16",
        "method=symmetry_consistency",
        "ema=0.9",
        "train_text=true",
    )
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_phantom_files(Path(folder) / "knees", patients=60, size=224, seed=1)
        outcomes = kill_and_resume(dataset, Path(folder) / "runs", changes, kills)
        same = 0
        for moments, killed, identical in outcomes:
            same += identical
            told = ", ".join(f"{moment:.2f} s" for moment in moments)
            print(f"killed {killed} times ({told}): {'identical' if identical else 'DIFFERENT'}", flush=True)
    print(f"{same} of {kills} results bit-identical")
    return int(same != kills)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
