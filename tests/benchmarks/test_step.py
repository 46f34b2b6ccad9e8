"""`python -m benchmarks`: the tutorial baseline is a fair one, and records agree with the seconds they are made of."""

import json
import statistics

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import processes as bench_processes
from benchmarks.__main__ import app, table_of
from benchmarks.embedding import bench_embedding, bench_scaling
from benchmarks.parts import BareTower, choose_batch
from benchmarks.processes import START_UPS, bench_memory, bench_startup
from benchmarks.step import bench_step
from benchmarks.tutorial_baseline import TutorialStep
from koa_kit.errors import KoaError
from koa_kit.model import build_model, make_towers
from koa_kit.prompts import prompt_set
from koa_kit.training.config import TrainConfig

SIZE, BATCH = 32, 8


@pytest.fixture
def recipe(knees, tmp_path):
    def make(**options) -> TutorialStep:
        options = {"batch": BATCH, "learning_rate": 3e-3} | options
        return TutorialStep(make_towers("koa-tiny", image_size=SIZE), knees, tmp_path / "png", **options)

    return make


@pytest.fixture(scope="module")
def record(knees):
    return bench_step("koa-tiny", SIZE, BATCH, cohort=knees, steps=5, warmup=1, device="cpu")


def what_towers_see(step: TutorialStep) -> tuple[list, list]:
    """Inputs of the image tower and of the text tower in one step."""
    seen = {"visual": [], "text": []}
    hooks = [
        getattr(step.model, name).register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0]))
        for name in seen
    ]
    step()
    for hook in hooks:
        hook.remove()
    return seen["visual"], seen["text"]


def test_the_tutorial_baseline_learns_in_both_towers(recipe):
    step = recipe(batch=16, captions="knee")
    losses = [float(step()) for _ in range(16)]
    assert statistics.mean(losses[-5:]) < statistics.mean(losses[:5]) - 0.5
    for tower in (step.model.text, step.model.visual):
        assert all(parameter.grad is not None for parameter in tower.parameters())


@pytest.mark.parametrize(("captions", "calls"), [("view", 2), ("knee", 1)])
def test_the_tutorial_baseline_shows_every_knee_and_its_mirror_image_and_reads_their_captions(recipe, captions, calls):
    images, tokens = what_towers_see(recipe(captions=captions))
    assert [tuple(batch.shape) for batch in images] == [(BATCH, 3, SIZE, SIZE)] * 2
    torch.testing.assert_close(images[1], images[0].flip(-1))
    assert [len(batch) for batch in tokens] == [BATCH] * calls


def test_the_caption_of_a_knee_is_that_of_its_grade(recipe, knees):
    step = recipe()
    tokenize = make_towers("koa-tiny", image_size=SIZE).tokenize
    captions = tokenize([texts[0] for texts in prompt_set("paper").prompts])
    for row in (0, 7, 50):
        image, tokens, grade = step.dataset[row]
        assert grade == knees.table["kl"][row]
        assert torch.equal(tokens, captions[grade])
        # normalised by the towers' mean 0.5 and spread 0.25, and cropped by at most a tenth of its area
        assert float(image.mean()) == pytest.approx((knees.images[row].mean() / 255 - 0.5) / 0.25, abs=0.15)


def test_a_loader_with_processes_gives_as_many_steps_as_asked_of_a_batch_that_can_be_filled(recipe):
    assert len(list(recipe(workers=1).steps(3))) == 3
    with pytest.raises(KoaError, match="do not fill a batch"):
        recipe(batch=1000)


def test_all_three_see_the_same_images_as_often_as_asked_and_the_figures_follow_from_the_seconds(record):
    assert record["images_per_step"] == 2 * BATCH
    for name in ("usual", "ours", "limit"):
        seconds, median = record[name]["seconds"], record[name]["median"]
        assert len(seconds) == 5
        assert min(seconds) > 0
        assert median == pytest.approx(statistics.median(seconds))
        assert record[name]["images_per_second"] == pytest.approx(2 * BATCH / median)
        pairs = zip(seconds, record["ours"]["seconds"], strict=True)
        if name != "ours":
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            assert record[f"ours_to_{name}"] == pytest.approx(ratio)
        if name != "usual":
            share = record["flops_per_step"] / median / record["peak_flops"]
            assert record[name]["peak_fraction"] == pytest.approx(share)


def test_a_record_says_where_and_by_what_command_it_was_made_and_the_table_shows_its_ratios(record):
    assert {"command", "date", "cpu", "cores", "threads", "gpu", "versions"} <= set(record["machine"])
    assert json.loads(json.dumps(record)) == record
    ours = next(line for line in table_of(record).splitlines() if "this kit" in line)
    assert f"{record['ours_to_usual']:.2f}" in ours
    assert f"{record['ours_to_limit']:.3f}" in ours


def test_without_the_flip_a_step_shows_one_image_a_knee(knees):
    record = bench_step("koa-tiny", SIZE, BATCH, cohort=knees, steps=1, warmup=1, usual=False, method="plain")
    assert record["images_per_step"] == BATCH
    assert record["usual"] is record["ours_to_usual"] is None


def test_a_loader_with_processes_is_timed_in_bursts_and_too_few_knees_are_shown_more_than_once(make_knees):
    record = bench_step("koa-tiny", SIZE, 16, cohort=make_knees(5), steps=2, warmup=1, workers=1, device="cpu")
    assert record["batch"] == 16
    assert record["usual"]["rounds"] == [0]
    paired = record["usual"]["seconds"][0] / record["ours"]["seconds"][0]
    assert record["ours_to_usual"] == pytest.approx(paired)


def test_the_limit_is_the_same_tower_forward_and_backward():
    model = build_model(towers="koa-tiny", image_size=SIZE).train()
    bare = BareTower(model, 4)
    bare.train()
    assert bare.tower is model.image_tower
    assert bare.pixels.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.grad is not None for parameter in model.image_tower.parameters())
    assert model.image_projection.weight.grad is None


def test_on_a_cpu_the_batch_needs_no_search(knees):
    assert choose_batch(build_model(towers="koa-tiny", image_size=SIZE), knees, TrainConfig(image_size=SIZE)) == 16


def test_embedding_counts_both_views_and_leaves_the_bare_passes_out(knees):
    record = bench_embedding("koa-tiny", SIZE, knees, batch=16, device="cpu")
    assert record["images_per_second"] == pytest.approx(2 * len(knees) / record["seconds"])
    assert record["ours_to_limit"] == pytest.approx(record["images_per_second"] / record["bare"]["images_per_second"])
    assert len(record["bare"]["seconds"]) >= 8


def test_scaling_fits_a_line_through_the_origin_to_knees_that_are_there(knees):
    table = bench_scaling("koa-tiny", SIZE, knees, [24, 48, 120], 24, device="cpu")
    slope = (table["knees"] * table["seconds"]).sum() / (table["knees"] ** 2).sum()
    pd.testing.assert_series_equal(table["fitted"], slope * table["knees"], check_names=False)
    pd.testing.assert_series_equal(table["seconds"], (table["up"] + table["down"]) / 2, check_names=False)
    assert table["deviation"].tolist() == pytest.approx((table["seconds"] / table["fitted"] - 1).tolist())
    with pytest.raises(KoaError, match="1000 knees"):
        bench_scaling("koa-tiny", SIZE, knees, [10, 1000], 8)


def test_peak_memory_is_that_of_a_fresh_process(tmp_path, monkeypatch):
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path))
    record = bench_memory("koa-tiny", SIZE, BATCH, knees=20, steps=2, device="cpu")
    # with torch imported, without what this test process has come to hold
    assert 100 < record["before_mb"] <= record["peak_mb"] < 4000
    assert record["knees"] == 20


def test_start_up_is_that_of_a_new_python(monkeypatch):
    monkeypatch.setattr(bench_processes, "START_UPS", {"asleep": "import time; time.sleep(0.2)", "named": "{towers!r}"})
    seconds = bench_startup("koa-tiny", SIZE, repeats=1)["seconds"]
    assert seconds["asleep"] > 0.2
    assert seconds["named"] > 0
    for code in START_UPS.values():
        compile(code.format(towers="koa-tiny", image_size=None), "start-up", "exec")


@pytest.fixture
def koa_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("KOA_CACHE_DIR", str(tmp_path / "cache"))
    few = ["--towers", "koa-tiny", "--image-size", str(SIZE), "--batch", "4", "--steps", "2", "--knees", "20"]
    return lambda *arguments: CliRunner().invoke(app, [*arguments, *few, "--device", "cpu"])


def test_the_command_prints_json_and_keeps_it_in_a_file(koa_bench, tmp_path):
    done = koa_bench("step", "embedding", "cache", "--json", "--out", str(tmp_path / "bench.json"))
    assert done.exit_code == 0, done.exception
    records = json.loads(done.stdout)
    assert [record["what"] for record in records] == ["step", "embedding", "cache"]
    assert records == json.loads((tmp_path / "bench.json").read_text())


def test_the_command_prints_a_table(koa_bench):
    done = koa_bench("step", "scaling", "--size", "10", "--size", "20", "--set", "method=symmetry")
    assert done.exit_code == 0, done.exception
    for word in ("tutorial baseline", "this kit", "bare image tower", "images/s", "20 knees", "largest deviation"):
        assert word in done.stdout


@pytest.mark.parametrize("arguments", [("speed",), ("step", "--set", "methd=plain"), ("step", "--set", "batch_size=4")])
def test_the_command_refuses_what_it_does_not_know(koa_bench, arguments):
    assert isinstance(koa_bench(*arguments).exception, KoaError)
