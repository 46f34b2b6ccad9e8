"""Several processes on one name, and readers beside a writer: one is whole, the others are told, nothing is mixed."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from bright_knees import bright_knees

from koa_kit.engine import run_folder
from koa_kit.engine.seals import seal
from koa_kit.errors import KoaError
from koa_kit.series import pages
from koa_kit.series.execution import NotebookRun
from koa_kit.series.run import earlier_run
from koa_kit.training import TrainConfig, fit, load_run
from koa_kit.training import run as run_module
from koa_kit.training.evaluation import evaluate_run

TIMES = min(10, max(1, int(os.environ.get("KOA_FAULTS", "100")) // 200))
ONE = TrainConfig(image_size=32, epochs=1, batch_size=20)


def koa(*arguments, **options) -> subprocess.Popen:
    """A process of its own that has begun a command."""
    command = [sys.executable, "-m", "koa_kit.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def train(dataset, runs, seed: int, *options) -> subprocess.Popen:
    small = ("--set", "epochs=2", "--set", "image_size=32", "--set", f"seed={seed}")
    return koa("train", "x", "--dataset", dataset, "--runs", runs, *small, *options)


@pytest.mark.parametrize("count", [2, 4] if TIMES > 1 else [2])
@pytest.mark.parametrize("round_", range(TIMES))
def test_of_several_trainings_into_one_name_one_wins_and_the_others_are_told(count, round_, dataset, tmp_path):
    processes = [train(dataset, tmp_path, seed, "--overwrite") for seed in range(count)]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in processes]
    assert all(code == 0 or (code == 1 and "Another process" in said) for said, code in ends), ends
    won = [seed for seed, (_, code) in enumerate(ends) if code == 0]
    assert won
    run = load_run(tmp_path / "x")  # whole: its sums are those of its files
    assert run.config.seed in won
    assert json.loads((tmp_path / "x" / "model.json").read_text())["seed"] == run.config.seed
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lock", "x"]


def test_a_run_is_read_whole_while_another_takes_its_place(dataset, tmp_path):
    assert train(dataset, tmp_path, 0).wait(timeout=120) == 0
    writer, seen = train(dataset, tmp_path, 1, "--overwrite"), []
    while writer.poll() is None or not seen:
        try:
            run = load_run(tmp_path / "x")
        except KoaError:  # in the moment in which the one makes room for the other
            continue
        assert run.config.seed == run.model.spec.seed
        seen.append(run.config.seed)
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert load_run(tmp_path / "x").config.seed == 1


@pytest.fixture
def two(tmp_path):
    """Two finished runs, and a function that puts the second one in the place of the first."""
    first, second = (fit(bright_knees(), ONE.with_changes(seed=seed), tmp_path / f"{seed}").folder for seed in (0, 1))

    def swap():
        first.rename(tmp_path / "away")
        shutil.copytree(second, first)

    return first, swap


def test_choices_of_one_run_and_weights_of_another_are_never_one_answer(two, monkeypatch):
    first, swap = two
    read = run_module.read_record
    monkeypatch.setattr(run_module, "read_record", lambda folder: (swap(), read(folder))[1])
    with pytest.raises(KoaError, match="took the place"):
        load_run(first)


def test_answers_are_not_put_beside_another_run(two, dataset, monkeypatch):
    first, swap = two
    before = sorted(path.name for path in first.iterdir())
    predict = run_module.Run.predict
    monkeypatch.setattr(run_module.Run, "predict", lambda *a, **o: (swap(), predict(*a, **o))[1])
    with pytest.raises(KoaError, match="took the place"):
        evaluate_run(first, dataset=str(dataset))
    assert sorted(path.name for path in first.iterdir()) == before


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_over(tmp_path, monkeypatch):
    check, calls = run_folder.check_free, []

    def finished_after_the_first_look(folder, overwrite):
        check(folder, overwrite)
        calls.append(folder)
        if len(calls) == 1:
            fit(bright_knees(), ONE, folder)

    monkeypatch.setattr(run_folder, "check_free", finished_after_the_first_look)
    with pytest.raises(KoaError, match="unasked"):
        fit(bright_knees(), ONE.with_changes(seed=1), tmp_path / "run")
    assert load_run(tmp_path / "run").config.seed == 0


FINISH = """from koa_kit.series.session import begin
begin(DATASET, SCALE, SEED, DATA_DIR, OUT_DIR).finish("00_knees", knees=2)"""
PARAMETERS = "\n".join(f"{name} = {value!r}" for name, value in (
    ("DATASET", "phantom"), ("SCALE", "smoke"), ("SEED", 0), ("DATA_DIR", ""), ("OUT_DIR", "results")))  # fmt: skip
RUN = "import sys; from koa_kit.series.run import run_series; run_series(notebook_dir=sys.argv[1], out_dir=sys.argv[2])"


def test_two_runs_of_the_notebooks_into_one_folder_do_not_mix(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, FINISH)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    (tmp_path / "notebooks").mkdir()
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Knees"), *cells])
    book.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(book, tmp_path / "notebooks" / "00_knees.ipynb")
    command = [sys.executable, "-c", RUN, tmp_path / "notebooks", tmp_path / "out"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted((process.communicate(timeout=300)[1], process.returncode) for process in both)
    assert sorted(code for _, code in ends) == [0, 1], ends
    assert any("Another process writes pages" in said for said, _ in ends)
    damage_what_it_left(tmp_path / "out")


def damage_what_it_left(out):
    """Whatever is changed in what an earlier run left, its card is left out; it never ends in a traceback."""
    (record,) = (out / "notebooks").glob("*.record.json")
    run = earlier_run(record)
    assert isinstance(run, NotebookRun)
    files = (record, run.notebook, run.page, run.results)
    for path in files:
        whole = path.read_bytes()
        for changed in (b"", b"{}", b"[" * 100_000, whole[:-9], whole.replace(b"0", b"1"), b"\xff" + whole, None):
            path.unlink()
            if changed is not None:
                path.write_bytes(changed)
            assert earlier_run(record) is None, (path, changed and changed[:20])
        path.write_bytes(whole)
    assert earlier_run(record) == run
    # as a version without seals left it: whatever can be shown
    record.with_suffix(".seal").unlink()
    assert earlier_run(record) == run
    for path in files:
        whole = path.read_bytes()
        for changed in (b"{}", b"[" * 100_000, whole[:-9]):
            path.write_bytes(changed)
            assert earlier_run(record) in (None, run)
        path.write_bytes(whole)
    seal(record.with_suffix(".seal"), files)
    assert pages.card(earlier_run(record))["title"]
