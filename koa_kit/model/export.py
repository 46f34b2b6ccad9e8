"""From a trained model to a graph that needs no torch; see `koa_kit.model.graph`."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from koa_kit.engine.modes import evaluating
from koa_kit.errors import KoaError
from koa_kit.model.checkpoint import load_checkpoint
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.model.graph import FORMAT, GRAPH, RECORD, load_graph
from koa_kit.paths import replacing, sha256_of
from koa_kit.versions import installed_versions

TOLERANCE = 1e-4
"""By how much a logit of the graph may differ from torch's."""


class _Whole(nn.Module):
    """All that lies between an image and its logits, with the five descriptions as constants."""

    def __init__(self, model: ClipKoa):
        super().__init__()
        self.model = model
        self.prompts = None if model.spec.head == "linear" else nn.Buffer(model.prompt_embeddings().detach())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        model = self.model
        # one under the other, a knee and its mirror image: of a batch that is cut in two the exporter loses the length
        views = torch.stack([images, images.flip(-1)], 1).flatten(0, 1)
        features = model.image_tower(model.normalised(views)).unflatten(0, (-1, 2))
        logits = model.logits(features[:, 0], features[:, 1], prompts=self.prompts)
        vectors = [model.image_embeddings(features[:, view]) for view in (0, 1)]
        return torch.stack(logits, 1), torch.stack(vectors, 1)


def export_graph(folder: str | os.PathLike) -> Path:
    """Write the model of a run folder as ``model.onnx`` with its record ``graph.json``, and return the first.

    Raises
    ------
    KoaError
        If torch's exporter lacks an operator of the model, the packages it needs are not installed, or the graph's
        logits of noise differ from torch's by more than `TOLERANCE`. Nothing is left behind then.
    """
    folder = Path(folder)
    model = load_checkpoint(folder)
    height, width = model.spec.image_shape
    images = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    with evaluating(model), torch.no_grad():
        expected = model.answer(images, ["R", "L", "R"])
        program = _exported(_Whole(model.requires_grad_(False)), torch.from_numpy(images))
    record = {
        "format": FORMAT,
        "weights_sha256": sha256_of(folder / "model.safetensors"),
        "spec": model.spec.record(),
        "versions": installed_versions(),
    }
    with replacing(folder / RECORD) as record_path, replacing(folder / GRAPH) as path:
        program.save(path)
        record_path.write_text(json.dumps(record | {"sha256": sha256_of(path)}, indent=2) + "\n", encoding="utf-8")
    given = load_graph(folder).answer(images, ["R", "L", "R"])
    if (off := float(np.abs(given.logits - expected.logits).max())) > TOLERANCE:
        for name in (GRAPH, RECORD):
            (folder / name).unlink()
        raise KoaError(f"A logit of the graph is off by {off:.2g}, more than {TOLERANCE:g}.", where=folder)
    return folder / GRAPH


def _exported(whole: nn.Module, images: Tensor):
    remedy = "Grade with the run itself; it needs no graph where torch is installed."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own use of torch
            return torch.onnx.export(
                whole.eval(),
                (images,),
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=["images"],
                output_names=["logits", "embeddings"],
                dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
            )
    except ImportError as error:
        remedy = "pip install 'koa_kit[export]'"
        raise KoaError(f"The exporter lacks a package: {error}", remedy=remedy) from error
    except Exception as error:  # the exporter wraps whatever went wrong in one of its stages
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        said = str(cause).strip().splitlines()[0][:300]
        raise KoaError(f"The model cannot be exported: {type(cause).__name__}: {said}", remedy=remedy) from error
