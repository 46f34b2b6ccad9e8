"""A trained model as one graph that onnxruntime computes: grading needs no torch, and is several times as fast.

The graph takes uint8 images as the image tower sees them and answers with ``logits`` and ``embeddings`` of both views;
normalisation, image tower, projection, the vectors of the five descriptions, the temperature and the pooling of both
views are in it. Cropping and resampling come before it, the rule by which five probabilities become a grade after it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from koa_kit.configuration import read_json
from koa_kit.engine import run_folder
from koa_kit.engine.pixels import resample
from koa_kit.errors import KoaError
from koa_kit.model.grader import Answers, Grader
from koa_kit.model.spec import ModelSpec
from koa_kit.paths import sha256_of

GRAPH, RECORD = run_folder.GRAPH
FORMAT = 1


class GraphGrader(Grader):
    """A grader that onnxruntime computes; `load_graph` makes one."""

    def __init__(self, session: Any, spec: ModelSpec):
        self.session, self.spec = session, spec

    def seen(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``(N, height, width)``: cropped and resampled by Pillow; some pixels one grey level from torch's."""
        return resample(self.cropped(images), self.spec.image_shape)

    def _answers(self, images: np.ndarray, sides: Sequence[str], batch: int) -> Answers:
        seen = self.seen(images)
        if self.spec.canonical_side:
            left = np.array([side == "L" for side in sides])
            seen[left] = seen[left][:, :, ::-1]
        parts = [
            self.session.run(["logits", "embeddings"], {"images": seen[start : start + batch]})
            for start in range(0, len(seen), batch)
        ]
        return Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: int
    sha256: str
    weights_sha256: str
    spec: dict
    versions: dict[str, str]


def load_graph(folder: str | os.PathLike, *, threads: int = 0) -> GraphGrader:
    """Grader of the graph that `koa_kit.model.export.export_graph` left in a run folder.

    Parameters
    ----------
    folder
        Run folder with ``model.onnx`` and ``graph.json``.
    threads
        Of the processor; 0 for as many as it has cores.

    Raises
    ------
    KoaError
        If there is no graph, it is of another version of the kit or of other weights than lie beside it, its bytes were
        changed, or onnxruntime is not installed or cannot compute it on this machine.
    """
    folder = Path(folder)
    again = f"Export it again: koa export {folder}"
    if not (folder / RECORD).is_file() or not (folder / GRAPH).is_file():
        raise KoaError("There is no exported model here.", where=folder, remedy=again.replace(" again", ""))
    try:
        record = _Record.model_validate(read_json(folder / RECORD))
        spec = ModelSpec.read(record.spec)
    except (ValidationError, KoaError, KeyError, TypeError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise KoaError(f"The graph's record is damaged ({said}).", where=folder / RECORD, remedy=again) from error
    if record.format != FORMAT:
        said = f"The graph has format {record.format}; this kit reads {FORMAT}."
        raise KoaError(said, where=folder / RECORD, remedy=again)
    weights = folder / "model.safetensors"
    if weights.is_file() and sha256_of(weights) != record.weights_sha256:
        raise KoaError("The graph is of other weights than lie beside it.", where=folder, remedy=again)
    if sha256_of(folder / GRAPH) != record.sha256:
        raise KoaError("The graph is not what was exported: its bytes differ.", where=folder / GRAPH, remedy=again)
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise KoaError("onnxruntime is not installed.", remedy="pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no type
        raise KoaError(f"onnxruntime cannot compute the graph: {error}", where=folder / GRAPH, remedy=again) from error
    return GraphGrader(session, spec)
