"""An exported model grades as the model itself, or is refused: altered, of other weights, of another version."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from koa_kit.engine.pixels import resample
from koa_kit.engine.resampling import resample as resample_by_torch
from koa_kit.errors import KoaError
from koa_kit.model import build_model, load_checkpoint, save_checkpoint
from koa_kit.model import export as exporting
from koa_kit.model.export import export_graph
from koa_kit.model.graph import load_graph

SIDES = ["L", "R", "L", "R", "R"]
MODELS = {
    "plain": {},
    "canonical": {"canonical_side": True, "normalize": "per_image"},
    "pooled": {"flip_pooling": True, "rule": "median_grade"},
    "corn": {"output": "corn", "locked": frozenset()},
    "linear": {"head": "linear"},
    "lite0": {"towers": "lite0-minilm", "crop": "joint"},
    "ViT": {"towers": "ViT-B-32-quickgelu:random", "image_size": 0},
}


@pytest.fixture(scope="module")
def films():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)


def saved(folder, **choices):
    model = build_model(**{"image_size": 64, "seed": 1} | choices)
    with torch.no_grad():
        for parameter in model.component("projections").values():
            parameter.add_(0.01)
        model.feature_mean.add_(0.5)
    return save_checkpoint(model, folder)


@pytest.fixture
def run(tmp_path):
    folder = saved(tmp_path / "run")
    export_graph(folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_answers_as_the_model_for_any_number_of_knees(name, films, tmp_path):
    folder = saved(tmp_path, **MODELS[name])
    export_graph(folder)
    model, graph = load_checkpoint(folder), load_graph(folder)
    height, width = model.spec.image_shape
    seen = films if (height, width) == (64, 64) else np.resize(films, (5, height, width))
    for count in (1, 3, 5):
        ours, theirs = (each.answer(seen[:count], SIDES[:count], batch=2) for each in (graph, model))
        np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
        np.testing.assert_allclose(ours.embeddings, theirs.embeddings, atol=1e-5)
        np.testing.assert_array_equal(
            graph.predict(seen[:count], SIDES[:count])[0], model.predict(seen, SIDES)[0][:count]
        )


@pytest.mark.parametrize("shape", [(40, 64), (128, 128), (60, 61)])
def test_images_are_resampled_as_torch_does_but_for_pixels_between_two_grey_levels(shape, films):
    ours, theirs = resample(films, shape).astype(int), resample_by_torch(films, shape).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.005


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model.onnx", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "its bytes differ"),
        ("model.onnx", lambda raw: raw[:1000], "its bytes differ"),
        ("model.safetensors", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "other weights"),
        ("graph.json", lambda raw: raw.replace(b'"format": 1', b'"format": 2'), "format 2"),
        ("graph.json", lambda raw: raw.replace(b'"paper"', b'"wrong'), "damaged|cannot be read"),
        ("graph.json", lambda raw: b"{}", "damaged"),
        ("graph.json", lambda raw: raw.replace(b'"embed_dim"', b'"embed"'), "damaged"),
    ],
)
def test_a_changed_graph_is_refused_with_what_to_do(name, change, said, run):
    path = run / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(KoaError, match=said):
        load_graph(run)


def test_a_graph_that_onnxruntime_cannot_read_is_no_traceback(run):
    record = json.loads((run / "graph.json").read_text())
    (run / "model.onnx").write_bytes(b"no graph")
    from koa_kit.paths import sha256_of

    (run / "graph.json").write_text(json.dumps(record | {"sha256": sha256_of(run / "model.onnx")}))
    with pytest.raises(KoaError, match="onnxruntime cannot compute"):
        load_graph(run)


def test_without_a_graph_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(KoaError, match="koa export"):
        load_graph(saved(tmp_path))


class Decomposed(nn.Module):
    """A tower with an operator that graphs do not have."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, pixels):
        return self.tower(pixels) * torch.linalg.eigvals(pixels[:, 0]).real.mean()


def test_what_cannot_be_exported_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    folder = saved(tmp_path)
    model = load_checkpoint(folder)
    model.image_tower = Decomposed(model.image_tower)
    monkeypatch.setattr(exporting, "load_checkpoint", lambda _: model)
    with pytest.raises(KoaError, match="linalg_eig"):
        export_graph(folder)
    assert not {"model.onnx", "graph.json"} & {path.name for path in folder.iterdir()}


def test_a_graph_that_says_something_else_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    folder = saved(tmp_path)
    with pytest.raises(KoaError, match="off by"):
        export_graph(folder)
    assert not {"model.onnx", "graph.json"} & {path.name for path in folder.iterdir()}
