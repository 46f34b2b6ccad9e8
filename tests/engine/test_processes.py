"""Two processes do what one does with the whole batch, batch norms on CPUs aside; `koa train` starts them quietly."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from koa_kit.data import load_cohort
from koa_kit.engine.processes import Processes
from koa_kit.errors import KoaError
from koa_kit.phantom import write_phantom_files
from koa_kit.training import TrainConfig, fit, load_run

CHANGES = ("epochs=2", "batch_size=16", "method=symmetry_consistency", "learning_rate=3e-4")
CHANGES += ("grade_weights=[1, 2, 1, 1, 1]", "regime=probe", "feature_dropout=0")
"""Adam divides a gradient by its size, so that rounding shows where one is nearly 0, in proportion to the rate."""


def in_two_processes(name, folder, *changes):
    command = [sys.executable, "-m", "koa_kit.cli", "train", name, "--processes", "2", "--device", "cpu"]
    command += ["--dataset", str(folder / "knees"), "--runs", str(folder / "runs")]
    command += [part for change in changes for part in ("--set", change)]
    shell = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=shell, timeout=120
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_phantom_files(folder / "knees", patients=41, size=224, seed=1)
    return folder


@pytest.fixture(scope="module")
def one_and_two(folder):
    done = in_two_processes("two", folder, *CHANGES)
    assert done.returncode == 0, done.stderr
    config = TrainConfig.for_scale("smoke").with_text(list(CHANGES))
    one = fit(load_cohort(str(folder / "knees")), config, folder / "runs" / "one")
    return one.folder, folder / "runs" / "two", done


def test_two_processes_train_the_same_model_as_one_with_the_whole_batch(one_and_two):
    one, two = (load_file(run / "model.safetensors") for run in one_and_two[:2])
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)
    one, two = (pd.read_csv(run / "history.csv") for run in one_and_two[:2])
    columns = ["loss", "prompt_loss", "symmetry_loss", "consistency_loss", "val_accuracy", "val_qwk"]
    pd.testing.assert_frame_equal(two[columns], one[columns], rtol=1e-5, atol=1e-5)


def test_a_tower_with_batch_norms_ends_as_one_model_though_each_normalises_its_own_knees(folder):
    done = in_two_processes("norms", folder, "image_size=32", "epochs=2", "batch_size=16", "ema=0.5")
    assert done.returncode == 0, done.stderr
    run = load_run(folder / "runs" / "norms", device="cpu")
    again = run.predict(load_cohort(str(folder / "knees")).split("val"))[0]
    pd.testing.assert_frame_equal(again, run.predictions)
    kept = run.history["val_qwk"].fillna(-1).idxmax()
    accuracy = (run.predictions["pred"] == run.predictions["kl"]).mean()
    assert accuracy == pytest.approx(run.history["val_accuracy"][kept])


def test_only_one_of_them_speaks_and_none_asks(one_and_two):
    done = one_and_two[2]
    assert done.stdout.count("2 processes share each batch") == 1
    assert done.stdout.count("epoch   1") == 1
    assert "accelerate" not in done.stdout + done.stderr


def test_batches_that_cannot_be_shared_equally_are_refused(folder):
    done = in_two_processes("odd", folder, "batch_size=15")
    assert done.returncode != 0
    assert "batch_size=16" in done.stderr


def test_alone_nothing_is_shared_and_nothing_changes():
    model, alone = nn.Sequential(nn.BatchNorm2d(3)), Processes(0, 1, torch.device("cpu"))
    assert alone.shared(model) is model
    assert type(model[0]) is nn.BatchNorm2d
    rows = torch.arange(6.0).view(3, 2)
    assert torch.equal(alone.all(rows)[0], rows)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    from koa_kit.commands import training as training_commands

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(KoaError, match="1 GPUs for 4 processes"):
        training_commands._launch(4, "cuda")
