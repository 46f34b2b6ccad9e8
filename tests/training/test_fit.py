"""Training: it learns what can be learned, repeats itself, keeps its best epoch, and cleans up after failure."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from koa_kit.data.splits import split_stem
from koa_kit.error_analysis import similarities
from koa_kit.errors import KoaError
from koa_kit.model import build_model
from koa_kit.training import METHODS, TrainConfig, embed_cohort, fit, load_run, predict

QUICK = TrainConfig(image_size=32, epochs=12, batch_size=16, train_text=True, augment=0.3)
PROBE = TrainConfig(
    towers="lite0-minilm", image_size=32, regime="probe", epochs=10, batch_size=32, learning_rate=1e-2, augment=0
)


@pytest.fixture(scope="module")
def canonical_run(knees, tmp_path_factory):
    return fit(knees, QUICK.with_changes(method="canonical_side"), tmp_path_factory.mktemp("run"))


def test_a_model_from_scratch_learns_brightness(canonical_run):
    predictions = canonical_run.predictions
    assert (predictions["pred"] == predictions["kl"]).mean() > 0.6
    assert set(predictions["split"]) == {"val"}


def test_the_run_folder_holds_what_error_analysis_needs(canonical_run):
    names = {"config.yaml", "history.csv", "model.safetensors", "model.json", "predictions.parquet", "embeddings.npy"}
    assert {path.name for path in canonical_run.folder.iterdir()} == names | {"metrics.json", "SHA256SUMS"}
    embeddings = np.load(canonical_run.folder / "embeddings.npy")
    assert embeddings.shape == (len(canonical_run.predictions), 2, 64)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, rtol=1e-4)


def test_probabilities_are_the_softmax_of_the_similarities(canonical_run):
    table = canonical_run.predictions
    for suffix in ("", "_flip"):
        s, p = (table[[f"{letter}{grade}{suffix}" for grade in range(5)]].to_numpy() for letter in "sp")
        torch.testing.assert_close(torch.softmax(torch.tensor(s.copy()), -1), torch.tensor(p.copy()))
        assert (table[f"pred{suffix}"] == p.argmax(1)).all()


def test_the_best_epoch_by_val_qwk_is_kept(canonical_run):
    kept = json.loads((canonical_run.folder / "model.json").read_text())["epoch"]
    history = canonical_run.history.set_index("epoch")
    assert kept == history["val_qwk"].idxmax()
    accuracy = (canonical_run.predictions["pred"] == canonical_run.predictions["kl"]).mean()
    assert accuracy == pytest.approx(history.loc[kept, "val_accuracy"])


def test_an_epoch_may_be_chosen_by_the_answers_averaged_over_both_views(knees, tmp_path):
    run = fit(knees, QUICK.with_changes(method="canonical_side", val_views="both"), tmp_path)
    kept = run.history.loc[run.history["val_qwk"].idxmax()]
    assert json.loads((tmp_path / "model.json").read_text())["epoch"] == kept["epoch"]
    # the mean of the logits: `flip_averaged` takes that of the probabilities, whose grade may be another
    logits = (similarities(run.predictions) + similarities(run.predictions, "_flip")) / 2
    kl, pred = run.predictions["kl"].to_numpy(), logits.argmax(1)
    assert kept["val_accuracy"] == pytest.approx((pred == kl).mean())
    assert kept["val_qwk"] == pytest.approx(cohen_kappa_score(kl, pred, labels=range(5), weights="quadratic"))
    assert (pred != run.predictions["pred"]).any()


def test_a_run_loads_and_predicts_the_same(canonical_run, knees):
    again = load_run(canonical_run.folder)
    predictions, _ = again.predict(knees.split("val"))
    pd.testing.assert_frame_equal(predictions, canonical_run.predictions)
    assert again.config == canonical_run.config


def test_a_seed_fixes_a_run_and_the_global_random_state_is_left_alone(knees, tmp_path):
    before = torch.get_rng_state()
    runs = [fit(knees, QUICK.with_changes(epochs=2, seed=seed), tmp_path / str(i)) for i, seed in enumerate((1, 1, 2))]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (run.predictions for run in runs)
    pd.testing.assert_frame_equal(first, same)
    assert not first["s0"].equals(other["s0"])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_and_threads_give_the_same_files_bit_for_bit(threads, knees, tmp_path):
    config, before = PROBE.with_changes(regime="finetune", epochs=2, augment=0.3), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        folders = [fit(knees, config, tmp_path / name).folder for name in ("one", "again")]
    finally:
        torch.set_num_threads(before)
    for name in ("model.safetensors", "predictions.parquet", "embeddings.npy"):
        one, again = ((folder / name).read_bytes() for folder in folders)
        assert one == again, name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_as_a_probe(method, knees, tmp_path):
    run = fit(knees, PROBE.with_changes(method=method, epochs=3), tmp_path)
    flips_agree = np.allclose(run.predictions["s1"], run.predictions["s1_flip"], atol=1e-4)
    assert flips_agree == (method == "flip_pooling")
    assert (run.history["symmetry_loss"].iloc[0] > 0) == (
        method in ("symmetry", "symmetry_consistency", "flip_pooling")
    )


def test_mirroring_left_knees_makes_both_sides_alike_to_a_model(knees):
    model = build_model(image_size=32, canonical_side=True)
    mirrored = knees.take(np.arange(len(knees)))
    flipped = type(knees)(
        knees.name,
        knees.images[:, :, ::-1].copy(),
        knees.table.assign(side=knees.table["side"].map({"L": "R", "R": "L"})),
        "x",
    )
    ours, _ = predict(model, mirrored)
    theirs, _ = predict(model, flipped)
    np.testing.assert_allclose(ours["s2"], theirs["s2"], rtol=1e-3, atol=1e-3)


def test_features_are_computed_once_and_kept_by_knee(knees, tmp_path, monkeypatch):
    model = build_model(towers="lite0-minilm", image_size=32, locked=("image", "text"))
    calls = []
    model.image_tower.register_forward_hook(lambda *_: calls.append(1))
    first = embed_cohort(model, knees, cache=tmp_path)
    done = len(calls)
    again = embed_cohort(model, knees, cache=tmp_path)
    assert len(calls) == done > 0
    np.testing.assert_array_equal(first, again)
    embed_cohort(model, knees.split("val"), cache=tmp_path)
    assert len(calls) > done, "other knees must not get these knees' features"
    assert first.shape == (len(knees), 2, 1280)


@pytest.mark.parametrize("cache", [None, True])
def test_without_a_folder_features_are_kept_in_the_cache_of_the_user(knees, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path))
    features = embed_cohort(build_model(image_size=32), knees, cache=cache)
    (kept,) = tmp_path.rglob("*.npy")
    np.testing.assert_array_equal(np.load(kept), features)


def test_features_of_the_flip_are_the_flips_features(knees, tmp_path):
    model = build_model(towers="lite0-minilm", image_size=32, locked=("image", "text"))
    flipped = type(knees)(knees.name, knees.images[:, :, ::-1].copy(), knees.table, "flipped")
    ours, theirs = (embed_cohort(model, cohort, cache=False) for cohort in (knees, flipped))
    np.testing.assert_allclose(ours[:, 1], theirs[:, 0], rtol=1e-3, atol=1e-3)


def test_early_stopping_ends_a_run_that_no_longer_improves(knees, tmp_path):
    run = fit(knees, PROBE.with_changes(epochs=60, patience=2), tmp_path)
    assert len(run.history) < 60
    best = run.history["val_qwk"].idxmax()
    assert len(run.history) == best + 1 + 2


@pytest.mark.parametrize("patients", [3, 5, 9])
def test_even_the_shortest_run_comes_to_an_end(patients, make_knees, tmp_path):
    run = fit(make_knees(patients), PROBE.with_changes(epochs=1, batch_size=4), tmp_path)
    assert np.isfinite(run.history["loss"]).all()


def test_a_misspelt_name_does_not_cost_the_run_that_was_there(knees, tmp_path):
    fit(knees, PROBE.with_changes(epochs=1), tmp_path)
    for wrong in ({"towers": "lite0-minilmm"}, {"prompts": "papper"}):
        with pytest.raises(KoaError, match=r"There (are|is) no"):
            fit(knees, PROBE.with_changes(**wrong), tmp_path, overwrite=True)
    assert len(load_run(tmp_path).predictions) == len(knees.split("val"))


def test_val_knees_of_one_grade_still_give_a_run(make_knees, tmp_path):
    knees = make_knees(12)
    knees.table["kl"] = 2
    run = fit(knees, PROBE.with_changes(epochs=4, batch_size=4), tmp_path)
    assert (run.predictions["kl"] == 2).all()


DIVERGING = QUICK.with_changes(method="symmetry_consistency", consistency=1e38, epochs=3)


def test_a_run_that_diverges_says_so_and_leaves_no_result(knees, tmp_path):
    with pytest.raises(KoaError, match="not finite"):
        fit(knees, DIVERGING, tmp_path / "run")
    assert not (tmp_path / "run" / "predictions.parquet").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()
    with pytest.raises(KoaError):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    "choices",
    [
        {"trained_blocks": 1, "layer_decay": 0.5},
        {"ema": 0.9, "clip_norm": 1.0},
        {"wise_ft": 0.5},
        {"compile": "aot_eager", "precision": "bf16", "augment": 0.0},
    ],
    ids=lambda choices: "-".join(choices),
)
def test_what_is_scored_is_what_is_kept_under_every_choice(choices, knees, tmp_path):
    run = fit(knees, QUICK.with_changes(epochs=3, train_text=False, **choices), tmp_path)
    kept = run.history.set_index("epoch").loc[json.loads((tmp_path / "model.json").read_text())["epoch"]]
    accuracy = (run.predictions["pred"] == run.predictions["kl"]).mean()
    # bf16 rounds the scores of an epoch, predictions are made in float32: one knee in 24 may differ
    assert accuracy == pytest.approx(kept["val_accuracy"], abs=1 / 24 if "precision" in choices else 1e-9)


def test_only_the_last_block_and_what_follows_it_changes(knees, tmp_path):
    config = QUICK.with_changes(epochs=1, trained_blocks=1)
    trained = fit(knees, config, tmp_path).model.state_dict()
    start = build_model(towers="koa-tiny", image_size=32, locked=(), seed=config.seed).state_dict()
    changed = {name for name in start if not torch.equal(start[name], trained[name])}
    blocks = {name.split(".")[3] for name in changed if name.startswith("image_tower.trunk.blocks.")}
    assert blocks == {"2"}
    assert not any(name.startswith("image_tower.trunk.stem") for name in changed)
    assert any(name.startswith("image_tower.trunk.head") for name in changed)


def test_the_history_tells_images_per_second_and_the_share_of_data(canonical_run):
    history = canonical_run.history
    assert (history["images_per_second"] > 0).all()
    assert history["data_share"].between(0, 1).all()


def test_an_unknown_compiler_is_refused_with_the_known_ones(knees, tmp_path):
    with pytest.raises(KoaError, match=r"no backend 'inductr'[\s\S]*inductor"):
        fit(knees, QUICK.with_changes(compile="inductr"), tmp_path)


def test_patients_set_aside_are_scored_and_never_trained_on(knees, tmp_path, monkeypatch):
    from koa_kit.training import fitting as loop

    seen, training = [], loop.Training
    monkeypatch.setattr(
        loop, "Training", lambda model, train, *rest: seen.append(train) or training(model, train, *rest)
    )
    run = fit(knees, QUICK.with_changes(epochs=1, holdout=0.3), tmp_path / "run")
    aside = pd.read_parquet(tmp_path / "run" / "holdout-predictions.parquet")
    assert set(aside["split"]) == {"holdout"}
    assert not set(aside["patient"]) & set(seen[0].table["patient"])
    assert len(aside) + len(seen[0]) == knees.splits["train"]
    assert set(run.predictions["split"]) == {"val"}
    # without patients set aside, what an earlier run said of them is gone, also under the split's earlier name
    (tmp_path / "run" / "holdout-predictions.parquet").rename(tmp_path / "run" / "development-predictions.parquet")
    assert split_stem(tmp_path / "run", "holdout") == split_stem(tmp_path / "run", "development") == "development-"
    fit(knees, QUICK.with_changes(epochs=1), tmp_path / "run", overwrite=True)
    assert not [*(tmp_path / "run").glob("holdout-*"), *(tmp_path / "run").glob("development-*")]
    assert split_stem(tmp_path / "run", "holdout") == "holdout-"


@pytest.mark.parametrize("change", [{"head": "linear", "train_text": False}, {"loss": "corn"}, {"loss": "cdw_ce"}])
def test_a_model_learns_brightness_without_words_and_with_every_ordinal_loss(knees, tmp_path, change):
    run = fit(knees, QUICK.with_changes(**change), tmp_path / "run")
    assert (run.predictions["pred"] == run.predictions["kl"]).mean() > 0.5
    pd.testing.assert_frame_equal(load_run(run.folder).predict(knees.split("val"))[0], run.predictions)
