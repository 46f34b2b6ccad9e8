"""A grid of runs: every trial once, a failure stops no other, the same numbers from a cluster."""

import json
import logging
import os
import time

import distributed
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from koa_kit.commands.grids import ablate
from koa_kit.comparison import backends
from koa_kit.comparison.backends import trial_outcomes
from koa_kit.comparison.grid import method_grid, run_grid
from koa_kit.comparison.tables import COLUMNS, read_table, summary
from koa_kit.comparison.trial import Trial
from koa_kit.data import load_cohort
from koa_kit.error_analysis.metrics import METRICS
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig

QUICK = TrainConfig(image_size=32, epochs=2, batch_size=16)
METHODS = ("plain", "symmetry")
GRID = method_grid(QUICK, METHODS, range(2))
COUNTED = ["accuracy", "qwk", "mae", "ece", "kl1_recall", "best_epoch"]


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory, session_cache):
    """Folder and table of a grid of two methods and two seeds, trained one trial after the other."""
    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOA_CACHE_DIR", str(session_cache))
        return folder, run_grid(GRID, folder, dataset=dataset, threads=1, device="cpu")


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")}


def test_a_grid_is_every_method_and_seed_once():
    trials = method_grid(QUICK, METHODS, (0, 7))
    assert [trial.name for trial in trials[:3]] == ["plain/seed-0", "plain/seed-7", "symmetry/seed-0"]
    assert trials[-1] == Trial("symmetry/seed-7", QUICK.with_changes(method="symmetry", seed=7))
    assert (trials[-1].arm, Trial("alone", QUICK).arm) == ("symmetry", "alone")


@pytest.mark.parametrize(
    ("names", "said"), [(["a", "a"], "same name"), (["a", "b"], "same choices"), (["../a"], "folder"), ([], "no trial")]
)
def test_a_grid_that_would_mix_trials_up_is_refused(names, said, tmp_path):
    with pytest.raises(KoaError, match=said):
        run_grid([Trial(name, QUICK) for name in names], tmp_path / "grid", dataset="phantom")
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("methods", "said"), [(["plain"] * 2, "same name"), (["plane"], "no method"), ([], "no trial")]
)
def test_methods_that_make_no_grid_are_refused(methods, said):
    with pytest.raises(KoaError, match=said):
        method_grid(QUICK, methods, [0])


def test_the_table_holds_configuration_seed_knees_and_scores(finished, dataset):
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
    pd.testing.assert_frame_equal(read_table(folder), table)


def test_a_finished_grid_is_found_and_not_trained_again(finished, dataset):
    folder, table = finished
    before, seen = written(folder), []
    again = run_grid(GRID, folder, dataset=dataset, threads=1, device="cpu", on_trial=seen.append)
    assert set(again["status"]) == {"found"}
    assert written(folder) == before
    assert [row["cell"] for row in seen] == table["cell"].tolist()
    pd.testing.assert_frame_equal(again.drop(columns="status"), table.drop(columns="status"))


def test_a_failed_trial_is_reported_does_not_stop_the_rest_and_is_tried_again(dataset, tmp_path):
    good = Trial("good/seed-0", QUICK.with_changes(epochs=1))
    bad = Trial("bad/seed-0", QUICK.with_changes(towers="no-such-towers"))
    table = run_grid([bad, good], tmp_path, dataset=dataset, threads=1, device="cpu")
    assert table["status"].tolist() == ["failed", "finished"]
    assert "no-such-towers" in table["message"][0]
    assert np.isnan(table["accuracy"][0])
    assert table["towers"][0] == "no-such-towers"
    assert "Traceback" in (tmp_path / bad.name / "failure.txt").read_text()
    assert summary(table)[["seeds", "failed"]].values.tolist() == [[1, 1]]
    mended = Trial(bad.name, QUICK.with_changes(epochs=1, seed=1))
    table = run_grid([mended, good], tmp_path, dataset=dataset, threads=1, device="cpu")
    assert table["status"].tolist() == ["finished", "found"]
    assert not (tmp_path / bad.name / "failure.txt").exists()


def test_trials_that_ended_are_kept_when_the_grid_is_interrupted(dataset, tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    trials = method_grid(QUICK.with_changes(epochs=1), METHODS, [0])
    with pytest.raises(KeyboardInterrupt):
        run_grid(trials, tmp_path, dataset=dataset, threads=1, device="cpu", on_trial=stop)
    assert read_table(tmp_path)["cell"].tolist() == ["plain/seed-0"]
    assert run_grid(trials, tmp_path, dataset=dataset, threads=1)["status"].tolist() == ["found", "finished"]


def kill_or_train(trial, threads):
    """Stands for a training, in another process: "killer" ends as one does that the system killed for its memory."""
    if trial.name == "killer":
        time.sleep(0.5)  # its neighbours have begun
        os._exit(9)
    return trial.name, {"process": os.getpid()}


@pytest.fixture(scope="module")
def cluster():
    """Address of a real Dask scheduler with one worker process."""
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=1, silence_logs=logging.CRITICAL, **options) as local:
        yield local.scheduler_address


@pytest.mark.parametrize("started", ["here", "elsewhere"])
def test_a_dask_cluster_gives_the_same_table(finished, dataset, tmp_path, started, request):
    _, table = finished
    trials = GRID[::3]
    trials.insert(1, Trial("broken", QUICK.with_changes(towers="no-such-towers")))
    where = {"jobs": 2} if started == "here" else {"scheduler": request.getfixturevalue("cluster")}
    far = run_grid(trials, tmp_path, dataset=dataset, backend="dask", threads=1, device="cpu", **where)
    assert far["status"].tolist() == ["finished", "failed", "finished"]
    far, table = (part[part["cell"] != "broken"].set_index("cell") for part in (far, table))
    table = table.loc[far.index]
    np.testing.assert_allclose(far[COUNTED], table[COUNTED], atol=1e-6)
    unlike = ["status", "seconds", *METRICS]
    pd.testing.assert_frame_equal(far.drop(columns=unlike), table.drop(columns=unlike), check_dtype=False)


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_a_killed_process_fails_its_own_trial_only(backend, tmp_path):
    names = ["a", "b", "killer", "c", "d"]
    trials = [Trial(name, QUICK.with_changes(seed=seed)) for seed, name in enumerate(names)]
    outcomes = dict(trial_outcomes(kill_or_train, trials, tmp_path, backend=backend, jobs=2))
    assert "killed" in str(outcomes.pop("killer"))
    assert sorted(outcomes) == ["a", "b", "c", "d"]
    assert os.getpid() not in {outcome["process"] for outcome in outcomes.values()}


def test_a_cluster_of_one_worker_trains_there_and_not_here(cluster, tmp_path):
    ((_, outcome),) = trial_outcomes(kill_or_train, [Trial("a", QUICK)], tmp_path, backend="dask", scheduler=cluster)
    assert outcome["process"] != os.getpid()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jobs": 0}, "jobs must be 1 to"),
        ({"backend": "ray"}, "no backend 'ray'"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "goes with a cluster"),
        ({"backend": "dask"}, "pip install distributed"),
    ],
)
def test_an_unusable_backend_is_refused_before_training(options, said, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)  # no package is installed
    with pytest.raises(KoaError, match=said):
        run_grid(method_grid(QUICK, seeds=[0]), tmp_path / "grid", dataset=dataset, **options)
    assert not (tmp_path / "grid").exists()


def test_a_cluster_that_cannot_be_reached_is_refused(dataset, tmp_path):
    with pytest.raises(KoaError, match="Dask cluster cannot be used"):
        run_grid(GRID, tmp_path, dataset=dataset, backend="dask", scheduler="nonsense://head:8786")


def test_the_summary_is_mean_and_spread_over_seeds(finished):
    _, table = finished
    row = summary(table).set_index("method").loc["symmetry"]
    scores = table.loc[table["method"] == "symmetry", "accuracy"]
    assert (row["seeds"], row["failed"]) == (2, 0)
    assert row[["accuracy", "accuracy_sd"]].tolist() == pytest.approx([scores.mean(), np.std(scores, ddof=1)])


def test_the_command_prints_every_trial_and_ends_with_1_if_one_failed(finished, dataset, tmp_path):
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
    printed = json.loads(result.output)
    assert printed["cells"][0]["status"] == "failed"
    assert printed["summary"][0]["failed"] == 1
    assert os.listdir(tmp_path / "broken" / "plain" / "seed-0") == ["failure.txt"]


def test_a_grid_with_other_choices_does_not_train_over_finished_trials(finished, dataset):
    folder, _ = finished
    before = written(folder)
    with pytest.raises(KoaError, match=r"epochs: 2 there, 3 asked(.|\n)*another name"):
        run_grid(method_grid(QUICK.with_changes(epochs=3), METHODS, range(2)), folder, dataset=dataset, threads=1)
    assert written(folder) == before
