"""The `koa` command: messages instead of tracebacks, a sealed test split, results that scripts can read."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from koa_kit.cli import app
from koa_kit.errors import KoaError
from koa_kit.phantom import write_phantom_files

QUICK = ["--set", "epochs=1", "--set", "image_size=32"]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def knee_folder(tmp_path_factory):
    return write_phantom_files(tmp_path_factory.mktemp("own") / "knees", patients=20, size=224, seed=0)


@pytest.fixture(scope="module")
def run_folder(knee_folder, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = invoke("train", "tiny", "--dataset", knee_folder, "--runs", runs, *QUICK)
    assert done.exit_code == 0, done.output
    assert "QWK" in done.output
    assert (runs / "tiny" / "predictions.parquet").is_file()
    return runs / "tiny"


def test_a_finished_run_is_resumed_without_saying_again_what_it_is(run_folder, knee_folder):
    before = (run_folder / "model.safetensors").stat().st_mtime_ns
    done = invoke("train", "tiny", "--resume", "--runs", run_folder.parent, "--dataset", knee_folder)
    assert done.exit_code == 0, done.exception
    assert "epochs=1" in done.output
    assert "epoch   1" not in done.output
    assert (run_folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_resume_on_other_knees_is_refused(run_folder):
    for options, message in (([], "folder of your own"), (["--dataset", "phantom"], "cohort: .* asked")):
        done = invoke("train", "tiny", "--resume", "--runs", run_folder.parent, *options)
        assert isinstance(done.exception, KoaError)
        assert re.search(message, str(done.exception))


def test_a_run_is_scored_with_intervals_as_json(run_folder, knee_folder):
    done = invoke("evaluate", run_folder, "--dataset", knee_folder, "--json")
    assert done.exit_code == 0, done.exception
    rows = {row["metric"]: row for row in json.loads(done.stdout)}
    assert rows["accuracy"]["low"] <= rows["accuracy"]["value"] <= rows["accuracy"]["high"]


def test_the_test_split_stays_sealed_without_final(run_folder):
    assert isinstance(invoke("evaluate", run_folder, "--split", "test").exception, KoaError)
    assert not (run_folder / "openings.jsonl").exists()


def test_every_opening_of_the_test_split_is_written_down(run_folder, knee_folder):
    for _ in range(2):
        done = invoke("evaluate", run_folder, "--dataset", knee_folder, "--split", "test", "--final")
        assert done.exit_code == 0, done.exception
    openings = [json.loads(line) for line in (run_folder / "openings.jsonl").read_text().splitlines()]
    assert len(openings) == 2
    assert openings[0]["knees"] > 0
    (run_folder / "openings.jsonl").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "x", "--set", "epoch=3"], "no choice 'epoch'"),
        (["train", "x", "--scale", "huge"], "no scale 'huge'"),
        (["evaluate", "no/such/run"], "no run here"),
        (["data", "audit", "no-such-data"], "no-such-data"),
        (["run", "99"], "99"),
    ],
)
def test_a_users_mistake_is_a_message_without_a_traceback(arguments, message):
    command = [sys.executable, "-m", "koa_kit.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert message in done.stderr
    assert "to do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_shows_an_example():
    for command in ("doctor", "run", "train", "evaluate", "ablate", "explore"):
        assert "Example: koa" in invoke(command, "--help").output
