"""Wrong calls of `koa`: each ends with a message and a status, none with a traceback, and nothing is left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import typer

from koa_kit import cli

NAMES = ("", " ", "/", "..", ".", "/etc", "a/../..", ".hidden", "x\ny", "-x", "x" * 300)
NUMBERS = ("0", "-1", "1.5", "nan", "inf", "true", "010", "", "many", "1e400", "9" * 30)
PLACES = ("", "{file}/at/all", "/dev/null", "/proc/1", "{file}", "{locked}")
CHOICES = (
    *("", "=", "epochs", "epochs=", "=3", "epochs=1.9", "batch_size=1.5", "seed=1.5", "epochs=true", "epochs=010"),
    *("augment=100", "symmetry=.nan", "learning_rate=1e9", "learning_rate=.inf", "learning_rate=0", "method=symetry"),
    *("consistency=10", "distance_power=3", "soft_width=1", "symmetry=-1", "batch_size=0", "seed=-1", "epochs=[1]"),
    *(
        "epochs={a: 1}",
        "prompts=papper",
        "prompts=[a, b]",
        "prompts=[a, a, a, a, a]",
        "towers=",
        "towers=ViT-B-32:nope",
    ),
    *("image_size=0", "image_size=-5", "image_size=1000000", "holdout=1", "holdout=2", "ema=1", "grade_weights=[1, 2]"),
    *("precision=fp8", "compile=nope", "rule=best", "crop=left", "head=none", "trained_blocks=-1", "epochs: 3"),
    *(
        "epochs=!!python/object/apply:os.system [ls]",
        "epochs=\x00",
        "wise_ft=0",
        "mixup=2",
        "val_views=three",
        "a" * 5000,
    ),
)


def calls() -> list[list[str]]:
    """Wrong command lines, each a list of arguments."""
    train = ["train", "x"]
    lines = [["train", name] for name in NAMES] + [["ablate", name] for name in NAMES]
    lines += [[*train, "--set", choice] for choice in CHOICES]
    lines += [["ablate", "x", "--set", choice] for choice in CHOICES[:24:3]]
    lines += [[*train, option, place] for option, place in product(("--dataset", "--runs"), PLACES[1:5])]
    lines += [[*train, "--device", name] for name in ("cuda", "cuda:9", "mps", "nope", "", "cpu:x", "xla")]
    lines += [[*train, "--scale", name] for name in ("", "huge", "SMOKE")]
    lines += [[*train, "--processes", number] for number in NUMBERS]
    lines += [[*train, "--save-minutes", number] for number in ("-1", "nan", "", "soon")]
    lines += [["ablate", "x", "--seeds", number] for number in NUMBERS if number != "010"]
    lines += [["ablate", "x", "--backend", "ray"], ["ablate", "x", "--jobs", "0"], ["ablate", "x", "--threads", "-1"]]
    lines += [
        ["ablate"],
        ["ablate", "--preset", "nope"],
        ["ablate", "x", "--method", "nope"],
        ["ablate", "x", "--arm", "y"],
    ]
    lines += [
        ["ablate", "--preset", "sides-cpu", "--arm", "nope"],
        ["ablate", "--preset", "sides-cpu", "--method", "plain"],
    ]
    lines += [["evaluate", place] for place in PLACES]
    lines += [["evaluate", "{run}", "--split", name] for name in ("", "test", "nope", "..")]
    lines += [["evaluate", "{run}", "--dataset", place] for place in (*PLACES[1:], "nope", "digital-knee")]
    lines += [["evaluate", "{run}", "--device", "cuda"], ["evaluate"]]
    lines += [["export", place] for place in PLACES]
    lines += [["explore", place, "--no-browser"] for place in (*PLACES[1:], "nope")]
    lines += [["run", name] for name in ("", "99", "nope", "../x", "00_nope", "/etc/passwd")]
    lines += [["run", "00", option, value] for option, value in (("--scale", "huge"), ("--seed", "x"), ("--jobs", "0"))]
    lines += [["run", "00", "--dataset", place] for place in (*PLACES[1:3], "{file}", "nope")]
    lines += [
        ["data", *rest] for rest in (["nope"], ["show"], ["show", "nope"], ["fetch"], ["fetch", "nope"], ["verify", ""])
    ]
    lines += [
        ["data", "fetch", "phantom"],
        ["data", "fetch", "oai-kl224", "--archive", "{file}"],
        ["data", "audit", "/dev"],
    ]
    lines += [["data", "fetch", "oai-kl224", "--archive", place] for place in PLACES[1:]]
    lines += [["data", "audit", place] for place in PLACES] + [["data", "verify", place] for place in PLACES]
    lines += [["nope"], ["--nope"], ["train"], ["train", "a", "b"], ["train", "x", "--nope"], ["doctor", "x"]]
    return lines


@pytest.fixture(scope="module")
def places(tmp_path_factory, session_cache, dataset):
    """A finished run, a folder of knees, a file that is nothing, and a folder that may not be read."""
    from bright_knees import bright_knees

    from koa_kit.training import TrainConfig, fit

    home = tmp_path_factory.mktemp("places")
    run = fit(bright_knees(), TrainConfig(image_size=32, epochs=1, batch_size=20), home / "run").folder
    (home / "file.txt").write_text("no data")
    (home / "locked").mkdir(mode=0)
    return {"run": run, "dataset": dataset, "file": home / "file.txt", "locked": home / "locked"}


@pytest.mark.parametrize("line", calls(), ids=lambda line: " ".join(line)[:60].encode("unicode_escape").decode())
def test_a_wrong_call_is_answered_with_a_message(line, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["koa", *(part.format(**places) if "{" in part[:1] else part for part in line)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    said = capsys.readouterr().err
    assert leaving.value.code not in (0, None), said
    assert "Error" in said or "Usage" in said or not line[1:], said
    assert "Traceback" not in said
    left = [path for path in Path(tmp_path).rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert not left, "a refused call leaves nothing behind"


HOSTILE = (
    *NAMES,
    *NUMBERS,
    *PLACES,
    "[" * 3000,
    "a: &a [*a]",
    "\ud800",
    "\u202e",
    "-",
    "--",
    "{run}",
    "{dataset}",
    "%s",
    "*",
    "~x",
)
BOUNDED = {
    "train": ["train", "x", "--dataset", "{dataset}", "--set", "epochs=1", "--set", "image_size=32"],
    "evaluate": ["evaluate", "{run}", "--dataset", "{dataset}"],
    "export": ["export", "{run}"],
    "ablate": ["ablate", "x", "--dataset", "nope", "--set", "epochs=1"],
    "run": ["run", "00", "--dataset", "nope"],
    "explore": ["explore", "{run}", "--no-browser"],
    "doctor": ["doctor"],
    "data list": ["data", "list"],
    "data fetch": ["data", "fetch", "oai-kl224", "--archive", "{file}"],
    "data verify": ["data", "verify", "oai-kl224"],
    "data audit": ["data", "audit", "{dataset}"],
    "data show": ["data", "show", "oai-kl224"],
}
"""Of each command a call that ends within seconds, whatever one more option says."""

MORE = max(24, int(os.environ.get("KOA_FAULTS", "0")) // 2)


def options() -> list[tuple[str, str]]:
    """Every command with each of its options, and with "" for one more argument."""

    def commands(command, name=""):
        for part, below in getattr(command, "commands", {}).items():
            yield from commands(below, f"{name} {part}".strip())
        if not hasattr(command, "commands"):
            yield name, command

    known = dict(commands(typer.main.get_command(cli.app)))
    assert known.keys() == BOUNDED.keys()
    names = ((name, text) for name, command in known.items() for one in command.params for text in one.opts)
    return [(name, text if text.startswith("--") else "") for name, text in names]


@pytest.mark.parametrize("number", range(MORE))
def test_any_option_with_any_value_ends_well_or_with_a_message(number, places, tmp_path, monkeypatch, capsys):
    chance = random.Random(number)
    name, option = chance.choice(options())
    value = chance.choice(HOSTILE)
    if value in ("/", "/etc"):  # who runs the tests may be allowed to write there
        value = f"{tmp_path}{value}"
    line = [
        *BOUNDED[name],
        *chance.choice(([option, value], [f"{option}={value}"], [option]) if option else ([value],)),
    ]
    if chance.random() < 0.2:
        line.pop(chance.randrange(1, len(line)))
    line = [part.format(**places) if part.startswith("{") and part.endswith("}") else part for part in line]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOA_DATA_DIR", str(tmp_path / "data"))
    for scheme in ("http", "https"):  # nothing is to be fetched
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("koa_kit.workbench.access.run_voila", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["koa", *line])
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(120)
    try:
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        signal.alarm(0)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert not code or "Error" in said or "Usage" in said or name in ("doctor", "data verify") or code == 2, said
    if tally := os.environ.get("KOA_TALLY"):
        with open(tally, "a", encoding="utf-8") as file:
            file.write(f"command {'right' if not code else 'refused'}\n")


def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "koa_kit.cli", "train", "x", "--runs", str(tmp_path), "--set", "epochs=500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "x" / "history.csv").is_file():
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "--resume" in said
    assert "Traceback" not in said
