"""Damaged run folders: a run is read as it was written, or refused by name; `KOA_FAULTS` mutants, 150 by default."""

import json
import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from bright_knees import bright_knees

from koa_kit.engine.run_folder import SUMS
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig, fit, load_run

MUTANTS = int(os.environ.get("KOA_FAULTS", "150"))
TEXTS = ("config.yaml", "model.json", SUMS, "metrics.json")
FILES = (*TEXTS, "history.csv", "model.safetensors", "predictions.parquet", "embeddings.npy")
ODD = (
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    10**30,
    "",
    "x",
    "\u202e",
    [],
    [[]],
    {},
    {"a": 1},
    "!!python/name:os.system",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = TrainConfig(image_size=32, epochs=2, batch_size=20, holdout=0.3)
    return fit(bright_knees(), config, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def answers(run):
    knees = bright_knees().split("val")
    return run.model.predict(knees.images, list(knees.table["side"]))[1]


def bytes_changed(data: bytes, draw: random.Random) -> bytes:
    """A file as a disk, a transfer or a stranger may leave it."""
    place, length = draw.randrange(len(data)), draw.randint(1, 64)
    return draw.choice([
        lambda: data[:place],
        lambda: b"",
        lambda: data[:place] + draw.randbytes(length) + data[place + length :],
        lambda: data[:place] + bytes(length) + data[place + length :],
        lambda: data[:place] + data[place + length :],
        lambda: data + draw.randbytes(length),
        lambda: data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :],
    ])()  # fmt: skip


def record_changed(record, draw: random.Random):
    """The same record with one of its values, at any depth, gone, of another kind or under another name."""
    if isinstance(record, dict | list) and record and draw.random() < 0.8:
        key = draw.choice(list(record) if isinstance(record, dict) else range(len(record)))
        how = draw.random()
        changed = record.copy()
        if how < 0.2:
            del changed[key]
        elif how < 0.3 and isinstance(record, dict):
            changed[f"{key}x"] = changed.pop(key)
        else:
            changed[key] = record_changed(record[key], draw)
        return changed
    return draw.choice(ODD)


def mutate(folder, name: str, draw: random.Random) -> None:
    path = folder / name
    if name.endswith((".json", ".yaml")) and draw.random() < 0.7:
        read, write = (json.loads, json.dumps) if name.endswith(".json") else (yaml.safe_load, yaml.safe_dump)
        path.write_text(write(record_changed(read(path.read_text()), draw)))
    elif draw.random() < 0.05:
        path.unlink()
    elif draw.random() < 0.05:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(bytes_changed(path.read_bytes(), draw))


@pytest.mark.parametrize("sums", [True, False], ids=["with its sums", "of before they were kept"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_a_run_is_refused_or_changes_nothing(name, sums, run, answers, tmp_path):
    if name == SUMS and not sums:
        pytest.skip("there are none to damage")
    knees = bright_knees().split("val")
    for number in range(-(-MUTANTS // (2 * len(FILES)))):
        draw = random.Random(f"{name} {number}")
        folder = tmp_path / str(number)
        shutil.copytree(run.folder, folder)
        if not sums:
            (folder / SUMS).unlink()
        mutate(folder, name, draw)
        read = refusal = None
        try:
            read = load_run(folder, device="cpu")
        except KoaError as error:
            refusal = str(error)
        if refusal:
            assert str(folder) in refusal, f"mutant {number}: the message does not name the file"
        else:
            if sums and name != "metrics.json":
                assert read.config == run.config
                pd.testing.assert_frame_equal(read.history, run.history)
            pd.testing.assert_frame_equal(read.predictions, run.predictions, check_dtype=False)
            if name != "model.safetensors" or sums:
                p = read.model.predict(knees.images, list(knees.table["side"]))[1]
                np.testing.assert_array_equal(p, answers, err_msg=f"mutant {number}")
        shutil.rmtree(folder)


@pytest.mark.parametrize("fill", [np.nan, np.inf, "whole"])
def test_weights_that_are_no_numbers_are_refused(fill, run, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / SUMS).unlink()
    state = load_file(folder / "model.safetensors")
    name = "image_projection.weight"
    state[name] = state[name].mul(100).long() if fill == "whole" else state[name].fill_(fill)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(KoaError, match=name):
        load_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(pred=4 - t["pred"]), "do not follow from their similarities"),
        (lambda t: t.assign(pred=t["pred"].where(t.index > 0, (t["pred"] + 1) % 5)), "do not follow"),
        (lambda t: t.assign(s0=t["s0"] + 5), "do not follow"),
        (lambda t: t.assign(p0=t["p1"], p1=t["p0"]), "do not follow"),
        (lambda t: t.assign(side="X"), "no side 'X'"),
        (lambda t: t.assign(knee_id=""), "no knee_id"),
        (lambda t: t.assign(patient=" "), "no patient"),
        (lambda t: t.iloc[:0], "no knee"),
        (lambda t: pd.concat([t, t]), "twice"),
    ],
)
def test_predictions_that_contradict_themselves_are_not_read(change, message, run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / SUMS).unlink()
    change(run.predictions).to_parquet(folder / "predictions.parquet", index=False)
    with pytest.raises(KoaError, match=message):
        load_run(folder)
