"""A killed run goes on as if nothing had happened; one that was begun otherwise is refused."""

import os
import resource

import pytest
import torch
from kill_and_resume import fingerprint, kill_and_resume

from koa_kit.cohort import Cohort
from koa_kit.engine.resume import load_state
from koa_kit.errors import KoaError
from koa_kit.training import TrainConfig, fit, fit_or_load, load_run
from koa_kit.training.step import TrainingStep

TINY = TrainConfig(image_size=32, epochs=3, batch_size=20, method="symmetry_consistency", ema=0.8, clip_norm=1.0)
PROBE = TrainConfig(
    towers="lite0-minilm", image_size=32, regime="probe", epochs=4, batch_size=20, feature_dropout=0.3, patience=2
)


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing of ours catches it."""


@pytest.fixture
def kill_at(monkeypatch):
    """Function that makes the training step, or the replacing of a file, of that number the last that happens."""

    def arm(what, number):
        owner, name = {"step": (TrainingStep, "__call__"), "file": (os, "replace")}[what]
        original, calls = getattr(owner, name), []

        def counted(*args, **options):
            calls.append(1)
            if len(calls) == number:
                raise Killed
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)
        return lambda: monkeypatch.setattr(owner, name, original)

    return arm


@pytest.fixture(scope="module")
def whole(knees, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {config: fingerprint(fit(knees, config, folder / config.regime).folder) for config in (TINY, PROBE)}


@pytest.mark.parametrize(("what", "number"), [("step", 1), ("step", 2), ("step", 6), ("step", 11)])
@pytest.mark.parametrize("config", [TINY, PROBE], ids=lambda config: config.regime)
def test_a_run_killed_at_any_step_ends_bit_for_bit_the_same(what, number, config, knees, whole, kill_at, tmp_path):
    disarm = kill_at(what, number)
    with pytest.raises(Killed):
        fit(knees, config, tmp_path / "run", save_minutes=0)
    disarm()
    fit(knees, config, tmp_path / "run", resume=True)
    assert fingerprint(tmp_path / "run") == whole[config]


@pytest.mark.parametrize("number", [1, 2, 3, 6, 7, 8, 9, 14, 20, 21, 22])
def test_a_run_killed_before_any_file_is_in_place_ends_the_same(number, knees, whole, kill_at, tmp_path):
    disarm = kill_at("file", number)
    with pytest.raises(Killed):
        fit(knees, TINY, tmp_path / "run", save_minutes=0)
    disarm()
    fit_or_load(knees, TINY, tmp_path / "run")
    assert fingerprint(tmp_path / "run") == whole[TINY]


def test_nothing_but_the_results_is_left_when_a_run_ends(knees, tmp_path):
    run = fit(knees, TINY.with_changes(epochs=1), tmp_path / "run", save_minutes=0)
    assert {path.name for path in run.folder.iterdir()} == {
        "config.yaml", "history.csv", "model.safetensors", "model.json", "predictions.parquet", "embeddings.npy",
        "metrics.json", "SHA256SUMS",
    }  # fmt: skip


@pytest.fixture
def interrupted(knees, kill_at, tmp_path):
    disarm = kill_at("step", 6)
    with pytest.raises(Killed):
        fit(knees, TINY, tmp_path / "run", save_minutes=0)
    disarm()
    return tmp_path / "run"


def test_a_resume_with_another_choice_is_refused_and_names_it(knees, interrupted):
    with pytest.raises(KoaError, match=r"learning_rate: 0.001 there, 0.01 asked"):
        fit(knees, TINY.with_changes(learning_rate=0.01), interrupted, resume=True)
    assert load_state(interrupted)["progress"]["done"] > 0, "a refused resume must not cost the state"


def test_a_resume_on_other_knees_is_refused_and_names_them(knees, interrupted):
    other = Cohort("other", knees.images, knees.table, "another fingerprint")
    with pytest.raises(KoaError, match=r"cohort: .bright .* there, .other .another fingerprint.* asked"):
        fit(other, TINY, interrupted, resume=True)


def test_a_damaged_state_is_refused(knees, interrupted):
    state = interrupted / "state" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(KoaError, match="cannot be read"):
        fit(knees, TINY, interrupted, resume=True)


def test_a_state_of_another_version_is_refused(knees, interrupted):
    state = interrupted / "state" / "state.pt"
    torch.save({"epoch": 2, "model": {}}, state)
    with pytest.raises(KoaError, match="another version"):
        fit(knees, TINY, interrupted, resume=True)


def test_a_finished_run_is_not_trained_again(knees, tmp_path, monkeypatch):
    first = fit(knees, TINY.with_changes(epochs=1), tmp_path / "run")
    monkeypatch.setattr(TrainingStep, "__call__", None)
    again = fit(knees, TINY.with_changes(epochs=1), tmp_path / "run", resume=True)
    assert again.predictions.equals(first.predictions)


def test_a_full_disk_leaves_the_last_checkpoint_intact(knees, interrupted):
    before = fingerprint_of_state(interrupted)
    checkpoint = (interrupted / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the kernel then refuses to write more into a file, as it does on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(KoaError, match="disk is full"):
            fit(knees, TINY, interrupted, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert fingerprint_of_state(interrupted) == before
    assert (interrupted / "model.safetensors").read_bytes() == checkpoint
    assert len(fit(knees, TINY, interrupted, resume=True).history) == TINY.epochs


def fingerprint_of_state(folder):
    return (folder / "state" / "state.pt").read_bytes()


def test_running_out_of_memory_names_the_next_smaller_batch(knees, tmp_path, monkeypatch):
    def too_much(*_):
        return torch.empty(10**15)

    monkeypatch.setattr(TrainingStep, "__call__", too_much)
    with pytest.raises(KoaError, match=r"batch_size=10"):
        fit(knees, TINY, tmp_path / "run")


def test_a_loss_that_is_not_a_number_names_the_step_and_the_last_good_checkpoint(knees, tmp_path, monkeypatch):
    original, calls = TrainingStep.__call__, []

    def breaks(self, batch):
        calls.append(1)
        return original(self, batch) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(TrainingStep, "__call__", breaks)
    with pytest.raises(KoaError, match=r"step 2 of epoch 2[\s\S]*last good checkpoint is in"):
        fit(knees, TINY, tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").is_file()
    with pytest.raises(KoaError, match="not finished"):
        load_run(tmp_path / "run")


def test_a_folder_in_use_is_not_trained_into(knees, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".run.lock"), pytest.raises(KoaError, match="Another process"):
        fit(knees, TINY, tmp_path / "run")


def test_koa_train_killed_for_real_ends_bit_for_bit_the_same(tmp_path):
    from koa_kit.phantom import write_phantom_files

    dataset = write_phantom_files(tmp_path / "knees", patients=40, size=224, seed=1)
    changes = ("image_size=32", "epochs=4", "batch_size=16", "method=symmetry")
    outcomes = list(kill_and_resume(dataset, tmp_path / "runs", changes, kills=2, seed=3))
    assert [identical for _, _, identical in outcomes] == [True, True]
    assert sum(killed for _, killed, _ in outcomes) > 0


def changed_state(folder, change):
    """Replace the saved state by what `change` makes of it."""
    state = load_state(folder)
    torch.save(change(state), folder / "state" / "state.pt")


def with_(kept, part, **changes):
    return kept | {part: kept[part] | changes}


ODD_STATES = {
    "nothing": lambda s: {},
    "a list": lambda s: [s],
    "of another rate": lambda s: with_(s, "origin", learning_rate=0.5),
    "of more epochs": lambda s: with_(s, "origin", epochs=9),
    "of other knees": lambda s: with_(s, "origin", cohort_fingerprint="0a1b"),
    "of another device": lambda s: with_(s, "origin", device="cuda"),
    "of two processes": lambda s: with_(s, "origin", processes=2),
    "beyond the last epoch": lambda s: with_(s, "progress", epoch=9),
    "before the first": lambda s: with_(s, "progress", epoch=0),
    "in a step not made": lambda s: with_(s, "progress", done=3),
    "without its history": lambda s: with_(s, "progress", history=[]),
    "of a smaller model": lambda s: (
        s | {"model": {name: value[:1] for name, value in s["model"].items() if value.ndim}}
    ),
    "of a model with less": lambda s: s | {"model": dict(list(s["model"].items())[1:])},
    "with another average": lambda s: s | {"average": s["model"]},
    "with odd moments": lambda s: with_(
        s, "optimiser", state={k: v | {"exp_avg": torch.zeros(3, 3, 3)} for k, v in s["optimiser"]["state"].items()}
    ),
    "without groups": lambda s: with_(s, "optimiser", param_groups=[]),
    "of a GPU's random numbers": lambda s: s | {"random": [torch.zeros(16, dtype=torch.uint8)]},
    "without random numbers": lambda s: s | {"random": []},
    "with an odd sampler": lambda s: with_(s, "sampler", generator=torch.zeros(3)),
    "with text for tensors": lambda s: s | {"model": "weights"},
}


@pytest.mark.parametrize("odd", ODD_STATES)
def test_a_state_that_is_not_of_this_run_is_refused_and_kept(odd, knees, interrupted):
    changed_state(interrupted, ODD_STATES[odd])
    before = fingerprint_of_state(interrupted)
    with pytest.raises(KoaError) as refusal:
        fit(knees, TINY, interrupted, resume=True)
    assert str(interrupted) in str(refusal.value)
    assert fingerprint_of_state(interrupted) == before


def test_a_state_of_a_version_that_did_not_say_where_it_belongs_goes_on(knees, whole, interrupted):
    changed_state(interrupted, lambda state: {name: part for name, part in state.items() if name != "origin"})
    fit(knees, TINY, interrupted, resume=True)
    assert fingerprint(interrupted) == whole[TINY]
