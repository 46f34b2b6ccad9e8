"""Grading radiographs by whatever computes a model: torch as it is, in bfloat16 or compiled, onnxruntime, OpenVINO."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks.parts import machine, spread
from koa_kit.model import load_checkpoint
from koa_kit.model.clip_koa import ClipKoa
from koa_kit.model.export import export_graph
from koa_kit.model.graph import load_graph
from koa_kit.training.views import Progress


def bench_grading(
    folder: Path, images: np.ndarray, *, batch: int = 32, rounds: int = 10, progress: Progress | None = None
) -> dict:
    """Knees/s of each way to the logits of both views of `batch` knees, in turns, and how far each is from eager torch.

    Parameters
    ----------
    folder
        Run folder; its graph is written into a copy.
    images
        Radiographs uint8 ``(N, H, W)``; the first `batch` are graded again and again.
    batch, rounds
        Knees a pass, and passes of each that count.

    Returns
    -------
    dict
        ``ways``: per way ``knees_per_second``, ``median`` seconds, ``to_eager`` (ratio of the medians), ``same_grades``
        (share of knees with eager torch's grade) and ``largest_difference`` of a logit; ``peak_mb`` of the process.
    """
    model = load_checkpoint(folder)
    seen = model.resampled(images[:batch])
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        export_graph(copy)
        ways = _ways(model, Path(copy), seen)
        answers = {name: way() for name, way in ways.items()}  # and a warm-up
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - started)
            if progress:
                progress(number + 1, rounds)
    eager = answers["torch"]
    rows = {}
    for name, taken in times.items():
        found = spread(taken, len(seen))
        rows[name] = {
            "knees_per_second": found["images_per_second"],
            "median": found["median"],
            "to_eager": float(np.median(times["torch"]) / np.median(taken)),
            "same_grades": float((answers[name].argmax(-1) == eager.argmax(-1)).mean()),
            "largest_difference": float(np.abs(answers[name] - eager).max()),
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"towers": model.spec.towers, "image_size": model.spec.image_size, "batch": len(seen)}
    return {"what": "grading", **facts, "ways": rows, "peak_mb": peak, "machine": machine(model.device)}


def _ways(model: ClipKoa, folder: Path, seen: torch.Tensor) -> dict[str, Callable[[], np.ndarray]]:
    """Functions that give the logits of the images as they lie, ``(N, 5)``, from both views of each."""

    def eager(images=None) -> np.ndarray:
        images = seen if images is None else images
        with torch.inference_mode():
            features = model.image_features(torch.cat([images, images.flip(-1)])).chunk(2)
            return model.logits(*features)[0].float().numpy()

    def in_bfloat16() -> np.ndarray:
        model.compute_dtype = torch.bfloat16
        try:
            return eager()
        finally:
            model.compute_dtype = None

    graph, pixels = load_graph(folder), seen.numpy()
    ways = {
        "torch": eager,
        "torch, bfloat16": in_bfloat16,
        "torch, compiled": _compiled(model, seen),
        "onnxruntime": lambda: graph.session.run(["logits"], {"images": pixels})[0][:, 0],
    }
    ways["onnxruntime, int8"] = _int8(folder, pixels)
    if find_spec("openvino"):
        import openvino

        network = openvino.compile_model(folder / "model.onnx", "CPU")
        ways["OpenVINO"] = lambda: network(pixels)[network.output("logits")][:, 0]
        exact = openvino.compile_model(folder / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        ways["OpenVINO, float32"] = lambda: exact(pixels)[exact.output("logits")][:, 0]
    return ways


def _compiled(model: ClipKoa, seen: torch.Tensor) -> Callable[[], np.ndarray]:
    tower = torch.compile(model.image_tower, dynamic=False)

    def compiled() -> np.ndarray:
        with torch.inference_mode():
            pixels = model.normalised(torch.cat([seen, seen.flip(-1)]))
            return model.logits(*tower(pixels).chunk(2))[0].numpy()

    return compiled


def _int8(folder: Path, pixels: np.ndarray) -> Callable[[], np.ndarray]:
    """The graph with weights and activations of 8 bits, ranges taken from these images."""
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"images": pixels[:16]}])

        def get_next(self):
            return next(self.left, None)

    whole, small = folder / "prepared.onnx", folder / "int8.onnx"
    quant_pre_process(folder / "model.onnx", whole, skip_symbolic_shape=True)
    quantization.quantize_static(
        whole,
        small,
        Images(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QUInt8,
    )
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    return lambda: session.run(["logits"], {"images": pixels})[0][:, 0]
