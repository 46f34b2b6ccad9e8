"""Nothing of another run, or of anyone else, is lost on the way to a new one."""

import json
import os

import pytest
from kill_and_resume import fingerprint

from koa_kit.engine.run_folder import SUMS, is_finished, under_way
from koa_kit.errors import KoaError
from koa_kit.paths import below
from koa_kit.training import TrainConfig, fit, fit_or_load, load_run
from koa_kit.training.loop import Training

ONE = TrainConfig(image_size=32, epochs=1, batch_size=20)
OTHER = ONE.with_changes(seed=1)


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing of ours catches it."""


@pytest.fixture
def there(knees, tmp_path):
    """A finished run, and what a reader and the sealed test split left in its folder."""
    folder = fit(knees, ONE, tmp_path / "run").folder
    (folder / "verdicts.jsonl").write_text("a reader's\n")
    (folder / "openings.jsonl").write_text("once\n")
    (folder / "other-0a1b2c3d-val-predictions.parquet").write_bytes(b"of this run's model")
    return folder


@pytest.mark.parametrize("config", [ONE, OTHER], ids=["same", "other"])
def test_a_run_is_not_trained_over_unasked(there, config, knees):
    before = fingerprint(there)
    with pytest.raises(KoaError, match="overwritten unasked"):
        fit(knees, config, there)
    assert fingerprint(there) == before


def test_a_new_run_takes_the_place_of_the_old_one_only_when_it_is_finished(there, knees, monkeypatch):
    before = fingerprint(there)

    def fails(*_):
        assert fingerprint(there) == before, "the run that is there is whole while the new one trains"
        raise KoaError("It fails.")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", fails)
        with pytest.raises(KoaError, match="fails"):
            fit(knees, OTHER, there, overwrite=True)
    assert fingerprint(there) == before
    assert fit(knees, OTHER, there, overwrite=True).config == OTHER
    assert (there / "verdicts.jsonl").read_text() == "a reader's\n"
    assert (there / "openings.jsonl").read_text() == "once\n"
    assert not list(there.glob("other-*")), "what another model said is not this one's"
    assert sorted(path.name for path in there.parent.iterdir()) == [".run.lock", "run"]


@pytest.mark.parametrize("number", range(1, 14))
def test_a_run_that_replaces_another_may_be_killed_before_any_file_is_in_place(number, there, knees, monkeypatch):
    before, calls = fingerprint(there), []
    for name in ("replace", "rename"):
        original = getattr(os, name)

        def counted(*places, original=original):
            calls.append(places)
            if len(calls) == number:
                raise Killed
            return original(*places)

        monkeypatch.setattr(os, name, counted)
    with pytest.raises(Killed):
        fit(knees, OTHER, there, overwrite=True)
    monkeypatch.undo()
    whole = there if there.exists() else under_way(there)
    assert is_finished(whole)
    assert fingerprint(whole) == before or load_run(whole).config == OTHER
    assert fit_or_load(knees, OTHER, there).config == OTHER
    assert (there / "verdicts.jsonl").read_text() == "a reader's\n"
    assert sorted(path.name for path in there.parent.iterdir()) == [".run.lock", "run"]


def test_resuming_goes_on_with_the_run_that_was_to_replace_the_other(there, knees, monkeypatch):
    original, calls = Training.run, []

    def killed_after(self, on_epoch):
        history = original(self, on_epoch)
        calls.append(1)
        if len(calls) == 1:
            raise Killed
        return history

    monkeypatch.setattr(Training, "run", killed_after)
    with pytest.raises(Killed):
        fit(knees, OTHER, there, overwrite=True)
    assert load_run(there).config == ONE
    with pytest.raises(KoaError, match=r"seed: 1 there, 0 asked"):
        fit(knees, ONE, there, resume=True)
    assert fit(knees, OTHER, there, resume=True).config == OTHER


@pytest.mark.parametrize("names", [["notes.txt"], ["state/thesis.docx"], ["config.yaml"], ["other-run/model.json"]])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_a_folder_of_someone_else_is_never_written_into(names, options, knees, tmp_path):
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine")
    for train in (fit, fit_or_load):
        if train is fit or not options:
            with pytest.raises(KoaError, match="not those of a run"):
                train(knees, ONE, tmp_path / "mine", **options)
    assert [path.read_text() for path in (tmp_path / "mine").rglob("*") if path.is_file()] == ["mine"]


@pytest.mark.parametrize("folder", ["", ".", "/", ".."])
def test_a_run_has_a_folder_of_its_own(folder, knees, tmp_path, monkeypatch):
    (tmp_path / "here" / "state").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(KoaError):
        fit(knees, ONE, folder)
    assert (tmp_path / "here" / "state").is_dir()


LEADING_ASTRAY = ["", " ", "/", "..", ".", "../x", "a/../../x", "/tmp/x", "a//b", "a\\b", ".hidden", "a\n", "x ", "C:x"]


@pytest.mark.parametrize("name", LEADING_ASTRAY)
def test_a_name_leads_nowhere_but_below_its_folder(name, tmp_path):
    assert below(tmp_path, "grid/seed-0") == tmp_path / "grid" / "seed-0"
    with pytest.raises(KoaError, match="name"):
        below(tmp_path, name)


def test_a_file_in_the_place_of_a_run_is_left_as_it_is(knees, tmp_path):
    (tmp_path / "run").write_text("mine")
    for train in (fit, fit_or_load):
        with pytest.raises(KoaError, match="a file"):
            train(knees, ONE, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_weights_and_choices_of_two_runs_are_not_one_model(there, knees, tmp_path):
    other = fit(knees, ONE.with_changes(method="canonical_side"), tmp_path / "other").folder
    (there / SUMS).unlink()
    (there / "model.json").write_bytes((other / "model.json").read_bytes())
    with pytest.raises(KoaError, match="do not belong together"):
        load_run(there)


def test_words_changed_after_training_are_not_taken_for_those_it_was_trained_with(there):
    record = json.loads((there / "model.json").read_text())
    record["spec"]["prompts"]["prompts"][1] = ["a knee nobody has seen"]
    (there / "model.json").write_text(json.dumps(record))
    with pytest.raises(KoaError):
        load_run(there)


def test_a_run_reached_by_a_link_is_replaced_where_it_lies(there, knees):
    (there / "verdicts.jsonl").write_text("a reader's")
    link = there.with_name("link")
    link.symlink_to(there.name)
    for _ in range(2):
        fit(knees, ONE.with_changes(seed=1), link, overwrite=True)
        assert link.is_symlink()
        assert (there / "verdicts.jsonl").read_text() == "a reader's"
        assert load_run(there).config.seed == load_run(link).config.seed == 1
    assert {path.name for path in there.parent.iterdir() if ".link" in path.name} == set()
