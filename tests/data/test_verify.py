import json

import pytest
from knee_files import bright_knee, save
from typer.testing import CliRunner

from koa_kit.commands.data import app
from koa_kit.data import verify_dataset
from koa_kit.errors import KoaError


@pytest.fixture
def folder(data_home):
    """The small data set, without its test split."""
    return data_home / "oai-kl224"


def test_an_absent_test_split_is_no_fault_unless_it_is_required(folder):
    result = verify_dataset("oai-kl224")
    assert result.to_frame()["state"].to_dict() == {"train": "complete", "val": "complete", "test": "absent"}
    assert result.ok
    assert not verify_dataset("oai-kl224", require=["test"]).ok


def test_a_knee_that_is_missing_makes_its_split_partial(folder):
    next((folder / "train/0").iterdir()).unlink()
    result = verify_dataset("oai-kl224")
    assert result.to_frame().loc["train", ["found", "missing", "state"]].tolist() == [9, 1, "partial"]
    assert not result.ok


def test_one_changed_byte_is_found_and_named(folder):
    file = sorted((folder / "val/1").iterdir())[0]
    *data, last = file.read_bytes()
    file.write_bytes(bytes([*data, last ^ 1]))
    result = verify_dataset("oai-kl224")
    assert result.splits[1].altered == (f"val/1/{file.name}",)
    assert not result.ok


def test_a_file_nobody_published_is_reported_as_extra(folder):
    save(folder / "train/0/OTHERL.png", bright_knee(9))
    result = verify_dataset("oai-kl224")
    assert result.splits[0].extra == ("train/0/OTHERL.png",)
    assert result.to_frame().loc["train", ["expected", "found", "extra", "state"]].tolist() == [10, 10, 1, "complete"]
    assert result.ok


def test_an_unknown_split_or_a_data_set_without_hashes_is_refused(folder):
    with pytest.raises(KoaError, match=r"no split 'tset'[\s\S]*train, val, test"):
        verify_dataset("oai-kl224", require=["tset"])
    with pytest.raises(KoaError, match="No file hashes"):
        verify_dataset("digital-knee")


def test_the_command_ends_with_1_when_a_required_split_is_absent(data_home):
    runner = CliRunner()
    assert runner.invoke(app, ["verify", "oai-kl224"]).exit_code == 0
    result = runner.invoke(app, ["verify", "oai-kl224", "--require", "test", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["splits"][2]["state"] == "absent"


def test_the_real_train_and_val_knees_are_complete_byte_for_byte(real_data):
    result = verify_dataset("oai-kl224", data_dir=real_data, require=["train", "val"])
    assert result.ok
    assert result.to_frame()["found"].tolist()[:2] == [5778, 826]
