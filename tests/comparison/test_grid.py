"""A grid of runs: every cell once, failures told and not contagious, the same numbers from a cluster."""

import json
import os
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from koa_kit.commands.ablate import ablate
from koa_kit.comparison import backends as grid_backends
from koa_kit.comparison.grid import grid, run_grid
from koa_kit.comparison.tables import COLUMNS, grid_table, summary
from koa_kit.comparison.trial import Cell
from koa_kit.data import load_cohort
from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=2, batch_size=16)
METHODS = ("plain", "symmetry")
COUNTED = ["accuracy", "qwk", "mae", "ece", "kl1_recall", "best_epoch"]


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory, session_cache):
    """Folder and table of a grid of two methods and two seeds, trained one cell after the other."""
    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        return folder, run_grid(grid(QUICK, METHODS, range(2)), folder, dataset=dataset, threads=1, device="cpu")


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")}


def test_a_grid_is_every_variation_method_and_seed_once():
    cells = grid(QUICK, METHODS, (0, 7), {"w=0.1": {"consistency": 0.1}, "w=1": {"consistency": 1.0}})
    assert [cell.name for cell in cells[:3]] == ["w=0.1/plain/seed-0", "w=0.1/plain/seed-7", "w=0.1/symmetry/seed-0"]
    assert len({cell.config for cell in cells}) == 8
    assert cells[-1] == Cell(
        "w=1/symmetry/seed-7", QUICK.with_changes(consistency=1.0, method="symmetry", seed=7), "w=1"
    )


@pytest.mark.parametrize(
    ("methods", "seeds", "variations", "said"),
    [
        (("plain", "plain"), (0,), None, "same name"),
        (("plain",), (0,), {"a": {}, "b": {}}, "same choices"),
        (("plain",), (0,), {"a": {"seed": 3}}, "axis of the grid"),
        (("plain",), (0,), {"../a": {"epochs": 3}}, "fit for a folder"),
        (("plane",), (0,), None, "no method"),
        ((), (0,), None, "no cell"),
    ],
)
def test_a_grid_that_would_mix_cells_up_is_refused(methods, seeds, variations, said):
    with pytest.raises(KoaError, match=said):
        grid(QUICK, methods, seeds, variations)


def test_the_table_tells_configuration_seed_knees_and_scores(finished, dataset):
    folder, table = finished
    cohort = load_cohort(dataset)
    assert tuple(table.columns) == COLUMNS
    assert table["cell"].tolist() == ["plain/seed-0", "plain/seed-1", "symmetry/seed-0", "symmetry/seed-1"]
    assert set(table["status"]) == {"finished"}
    assert set(table["cohort_fingerprint"]) == {cohort.fingerprint}
    assert set(zip(table["knees_train"], table["knees_val"], strict=True)) == {tuple(cohort.splits.values())}
    for row in table.to_dict("records"):
        run = folder / row["cell"]
        scores = json.loads((run / "metrics.json").read_text())
        assert {name: row[name] for name in scores} == {
            name: pytest.approx(np.nan if value is None else value, nan_ok=True) for name, value in scores.items()
        }
        config = TrainConfig.read(run / "config.yaml")
        assert {row[name] == getattr(config, name) for name in ("method", "seed", "learning_rate", "towers")} == {True}
        assert row["best_epoch"] == json.loads((run / "model.json").read_text())["epoch"]
    pd.testing.assert_frame_equal(grid_table(folder), table)


def test_a_finished_grid_is_found_and_not_trained_again(finished, dataset):
    folder, table = finished
    before, seen = written(folder), []
    again = run_grid(
        grid(QUICK, METHODS, range(2)), folder, dataset=dataset, threads=1, device="cpu", on_cell=seen.append
    )
    assert set(again["status"]) == {"found"}
    assert written(folder) == before
    assert [row["cell"] for row in seen] == table["cell"].tolist()
    pd.testing.assert_frame_equal(again.drop(columns="status"), table.drop(columns="status"))


def test_a_failed_cell_is_told_does_not_stop_the_rest_and_is_tried_again(dataset, tmp_path):
    good, bad = (
        Cell("good/seed-0", QUICK.with_changes(epochs=1)),
        Cell("bad/seed-0", QUICK.with_changes(towers="no-such-towers")),
    )
    table = run_grid([bad, good], tmp_path, dataset=dataset, threads=1, device="cpu")
    assert table["status"].tolist() == ["failed", "finished"]
    assert "no-such-towers" in table["message"][0]
    assert np.isnan(table["accuracy"][0])
    assert table["towers"][0] == "no-such-towers"
    assert "Traceback" in (tmp_path / bad.name / "failure.txt").read_text()
    assert summary(table)[["seeds", "failed"]].values.tolist() == [[1, 1]]
    mended = Cell(bad.name, QUICK.with_changes(epochs=1, seed=1))
    table = run_grid([mended, good], tmp_path, dataset=dataset, threads=1, device="cpu")
    assert table["status"].tolist() == ["finished", "found"]
    assert not (tmp_path / bad.name / "failure.txt").exists()


def test_cells_that_ended_are_kept_when_the_grid_is_interrupted(dataset, tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    cells = grid(QUICK.with_changes(epochs=1), METHODS, [0])
    with pytest.raises(KeyboardInterrupt):
        run_grid(cells, tmp_path, dataset=dataset, threads=1, device="cpu", on_cell=stop)
    assert grid_table(tmp_path)["cell"].tolist() == ["plain/seed-0"]
    assert run_grid(cells, tmp_path, dataset=dataset, threads=1)["status"].tolist() == ["found", "finished"]


def test_a_local_dask_cluster_gives_the_same_table(finished, dataset, tmp_path):
    _, table = finished
    cells = grid(QUICK, METHODS, range(2))
    cells[1] = Cell("broken", QUICK.with_changes(towers="no-such-towers"))
    far = run_grid(cells, tmp_path, dataset=dataset, backend="dask", jobs=2, threads=1, device="cpu")
    assert far["status"].tolist() == ["finished", "failed", "finished", "finished"]
    same = [0, 2, 3]
    np.testing.assert_allclose(far.loc[same, COUNTED], table.loc[same, COUNTED], atol=1e-6)
    unlike = ["status", "seconds"]
    left, right = (part.loc[same].drop(columns=[*unlike, *METRICS]) for part in (far, table))
    pd.testing.assert_frame_equal(left, right, check_dtype=False)


def test_a_killed_process_fails_its_own_cell_only(monkeypatch):
    class Pool:
        """As joblib's: cells begin in order, two at a time, and "killer" takes its neighbour along."""

        def __init__(self, jobs, **_):
            pass

        def __call__(self, calls):
            calls = list(calls)
            for place, (task, (cell,), options) in enumerate(calls):
                if any(other[1][0].name == "killer" for other in calls[place : place + 2]):
                    raise BrokenProcessPool
                yield task(cell, **options)

    monkeypatch.setattr("joblib.Parallel", Pool)
    cells = [Cell(name, QUICK.with_changes(seed=seed)) for seed, name in enumerate(["a", "b", "killer", "c", "d"])]
    outcomes = dict(
        grid_backends.BACKENDS["loky"](lambda cell, threads: (cell.name, "trained"), cells, jobs=2, threads=1)
    )
    assert "killed" in str(outcomes.pop("killer"))
    assert outcomes == dict.fromkeys("abcd", "trained")


def test_ray_gets_every_cell_and_a_lost_worker_is_told(monkeypatch):
    class RayError(Exception):
        pass

    def remote(**asked):
        assert asked["num_gpus"] == 1
        return lambda function: SimpleNamespace(remote=lambda *arguments: lambda: function(*arguments))

    calls = []
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda address: calls.append(address),
        shutdown=lambda: calls.append("shutdown"),
        remote=remote,
        wait=lambda running, num_returns: (running[-1:], running[:-1]),
        get=lambda future: future(),
        exceptions=SimpleNamespace(RayError=RayError),
    )
    monkeypatch.setitem(__import__("sys").modules, "ray", ray)

    def task(cell, threads):
        if cell.name == "b":
            raise RayError("the worker died")
        return cell.name, "trained"

    cells = [Cell(name, QUICK.with_changes(seed=seed)) for seed, name in enumerate("abc")]
    outcomes = dict(
        grid_backends.BACKENDS["ray"](task, cells, jobs=2, threads=1, scheduler="ray://one:1", device="cuda")
    )
    assert str(outcomes.pop("b")) == "the worker died"
    assert outcomes == {"a": "trained", "c": "trained"}
    assert calls == ["ray://one:1", "shutdown"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "threading"}, "no backend 'threading'"),
        ({"jobs": 0}, "jobs must be 1 or more"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "goes with a cluster"),
    ],
)
def test_an_unusable_backend_is_refused_before_training(options, said, dataset, tmp_path):
    with pytest.raises(KoaError, match=said):
        run_grid(grid(QUICK, seeds=[0]), tmp_path / "grid", dataset=dataset, **options)
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(("backend", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_package_is_named_with_the_line_that_installs_it(backend, package, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(grid_backends, "find_spec", lambda name: None)
    with pytest.raises(KoaError, match=f"pip install {package}"):
        run_grid(grid(QUICK, seeds=[0]), tmp_path, dataset=dataset, backend=backend)


def test_the_summary_is_mean_and_spread_over_seeds(finished):
    _, table = finished
    row = summary(table).set_index("method").loc["symmetry"]
    scores = table.loc[table["method"] == "symmetry", "accuracy"]
    assert (row["seeds"], row["failed"]) == (2, 0)
    assert row["accuracy"] == pytest.approx(scores.mean())
    assert row["accuracy_sd"] == pytest.approx(abs(scores.iloc[0] - scores.iloc[1]) / np.sqrt(2))


def test_the_command_prints_every_cell_and_ends_with_1_if_one_failed(finished, dataset, tmp_path):
    app = typer.Typer()
    app.command()(ablate)
    folder, _ = finished
    choices = [f"--set={name}={getattr(QUICK, name)}" for name in ("image_size", "epochs", "batch_size")]
    choices += ["--set", f"learning_rate={QUICK.learning_rate}", "--set", "warmup=0.25", "--set", "augment=1.0"]
    common = ["--dataset", str(dataset), "--device", "cpu", "--threads", "1", *choices, "--method", "plain"]
    result = CliRunner().invoke(app, [folder.name, "--runs", str(folder.parent), "--seeds", "2", *common])
    assert result.exit_code == 0, result.output
    assert result.output.count("  found  ") == 2
    assert "±" in result.output
    broken = [*common, "--set", "towers=no-such-towers", "--seeds", "1", "--json"]
    result = CliRunner().invoke(app, ["broken", "--runs", str(tmp_path), *broken])
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert told["cells"][0]["status"] == "failed"
    assert told["summary"][0]["failed"] == 1
    assert os.listdir(tmp_path / "broken" / "plain" / "seed-0") == ["failure.txt"]


def test_a_grid_with_other_choices_does_not_train_over_finished_cells(finished, dataset):
    folder, _ = finished
    before = written(folder)
    with pytest.raises(KoaError, match=r"epochs: 2 there, 3 asked(.|\n)*another name"):
        run_grid(grid(QUICK.with_changes(epochs=3), METHODS, range(2)), folder, dataset=dataset, threads=1)
    assert written(folder) == before
