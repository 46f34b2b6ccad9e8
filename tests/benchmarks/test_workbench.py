"""What an analyst waits for is measured on tables that are as real ones."""

import numpy as np
import pytest

from benchmarks.workbench import bench_workbench, repeated
from koa_kit.error_analysis import compute_metrics
from koa_kit.pretrained import load_pretrained

KINDS = {"cell", "knee", "window", "filter", "slider", "words"}


@pytest.fixture(scope="module")
def val():
    run = load_pretrained(device="cpu")
    return run.predictions, np.load(run.folder / "embeddings.npy")


def test_a_larger_table_has_knees_of_other_names_with_answers_nearly_alike(val):
    predictions, embeddings = val
    table, vectors = repeated(predictions, embeddings, 2000, seed=0)
    assert table["knee_id"].is_unique
    assert table.groupby("patient").size().max() == 2
    assert np.linalg.norm(vectors, axis=-1) == pytest.approx(1, abs=1e-5)
    assert compute_metrics(table)["qwk"] == pytest.approx(compute_metrics(predictions)["qwk"], abs=0.05)
    assert table["s1"].nunique() > 1900


def test_every_kind_of_event_is_timed_at_every_size():
    record = bench_workbench((60, 900), events=2)
    assert [table["knees"] for table in record["tables"]] == [60, 900]
    for table in record["tables"]:
        assert set(table["events"]) == KINDS
        assert all(0 < times["median"] <= times["worst_of_20"] for times in table["events"].values())
