"""Checkpoints: the trained components as safetensors, everything else about the model as JSON. Never pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from koa_kit.configuration import read_json
from koa_kit.engine.weights import load_weights
from koa_kit.errors import KoaError
from koa_kit.model.clip_koa import ClipKoa, build_model
from koa_kit.model.spec import ModelSpec
from koa_kit.paths import replacing
from koa_kit.prompts import PromptSet, prompt_set
from koa_kit.versions import installed_versions

FORMAT = 2
TOWER_PREFIX = {"image": "image_tower.", "text": "text_tower."}


def save_checkpoint(model: ClipKoa, folder: str | Path, *, half: bool = False, **facts) -> Path:
    """Write ``model.safetensors`` and ``model.json`` into `folder` and return it.

    A tower that is locked and pretrained is not written: its weights are the published ones, whose sha256 is kept and
    compared on loading.

    With `half`, matrices and kernels are written as float16, see `round_to_half`; gains, biases and statistics of
    batch norms stay float32. `facts` are remembered in ``model.json``, such as ``seed`` and ``cohort_fingerprint``.
    """
    folder = Path(folder)
    state = {
        name: (value.half() if half and value.ndim > 1 else value).detach().cpu().contiguous()
        for name, value in _stored(model).items()
    }
    record = {
        "format": FORMAT,
        "spec": model.spec.record(),
        "weights": model.towers.weights,
        "quick_gelu": model.towers.quick_gelu,
        "not_stored": _not_stored(model),
        "versions": installed_versions(),
        **facts,
    }
    with replacing(folder / "model.safetensors") as path:
        save_file(state, path, metadata={"spec": _digest(record["spec"])})
    with replacing(folder / "model.json") as path:
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


@torch.no_grad()
def round_to_half(model: ClipKoa) -> None:
    """Round, in place, what `save_checkpoint` would round with ``half``: the model then answers as the loaded one."""
    for value in _stored(model).values():
        if value.ndim > 1:
            value.copy_(value.half())
    # prompts read with other weights are forgotten
    model.lock(model.locked)


def _not_stored(model: ClipKoa) -> list[str]:
    return [TOWER_PREFIX[name] for name in sorted(model.locked & set(model.towers.weights))]


def _stored(model: ClipKoa) -> dict[str, Tensor]:
    left_out = tuple(_not_stored(model))
    return {name: value for name, value in model.state_dict().items() if not name.startswith(left_out)}


def read_record(folder: str | Path) -> dict:
    """Contents of ``model.json`` of a run folder, with ``spec`` as a `ModelSpec`."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise KoaError("There is no checkpoint here.", where=folder, remedy="Train first: koa train --help.")
    record = read_json(path)
    if record.get("format") not in (1, FORMAT):
        raise KoaError(
            f"The checkpoint has format {record.get('format')!r}; this kit reads {FORMAT} and 1.",
            where=path,
            remedy="Use the version of koa_kit that wrote it.",
        )
    try:
        _Record.model_validate(record)
        digest = _digest(record.get("spec"))
        spec = ModelSpec.read_format_1(record) if record["format"] == 1 else ModelSpec.read(record["spec"])
    except ValidationError as error:
        fault = error.errors()[0]
        said = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise KoaError(f"The checkpoint's record is damaged ({said}).", where=path, remedy="Train again.") from error
    except (KoaError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = error.what if isinstance(error, KoaError) else repr(error)
        raise KoaError(f"The checkpoint's record is damaged ({said}).", where=path, remedy="Train again.") from error
    return record | {"spec": spec, "spec_sha256": digest}


def _digest(spec: object) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


class _Record(BaseModel):
    """What ``model.json`` must hold besides the choices; `facts` may be added."""

    model_config = ConfigDict(strict=True, extra="allow")

    weights: dict[Literal["image", "text"], str]
    quick_gelu: bool
    not_stored: list[Literal["image_tower.", "text_tower."]]
    versions: dict[str, str]
    cohort: str | None = None
    cohort_fingerprint: str | None = None
    epoch: int | None = None


def load_checkpoint(
    folder: str | Path, *, towers: str | None = None, prompts: str | PromptSet | None = None, device: str = "cpu"
) -> ClipKoa:
    """Model of a run folder, in evaluation mode, in float32, giving the same logits as when it was saved.

    Parameters
    ----------
    folder
        Run folder with ``model.safetensors`` and ``model.json``.
    towers, prompts
        What the caller expects the checkpoint to be for; omitted, what it says itself is taken.
    device
        Where to put it.

    Raises
    ------
    KoaError
        If there is no checkpoint, it is for other towers or prompts than expected, the pretrained weights it builds
        on are not the ones it was trained with, or a file is damaged.
    """
    folder = Path(folder)
    record = read_record(folder)
    spec: ModelSpec = record["spec"]
    _expect("towers", spec.towers, towers or spec.towers, folder)
    asked = spec.prompts if prompts is None else prompt_set(prompts)
    # the words count, not their name
    own, other = (f"{words.name} ({words.fingerprint})" for words in (spec.prompts, asked))
    _expect("prompts", own, own if asked.fingerprint == spec.prompts.fingerprint else other, folder)
    model = build_model(spec)
    _expect("quick_gelu", record["quick_gelu"], model.towers.quick_gelu, folder)
    for name, prefix in TOWER_PREFIX.items():
        if prefix in record["not_stored"]:
            _expect(f"pretrained {name} weights", record["weights"][name], model.towers.weights.get(name), folder)
    # written one after the other: what says what the model is, and its weights, may be of two runs
    bound = load_weights(model, folder / "model.safetensors", tuple(record["not_stored"])).get("spec")
    if bound not in (None, record["spec_sha256"]):
        raise KoaError(
            "model.json and model.safetensors do not belong together: one was changed or comes from another run.",
            where=folder,
            remedy="Restore both, or train again.",
        )
    return model.eval().to(device)


def _expect(what: str, has: object, expected: object, folder: Path) -> None:
    if has != expected:
        raise KoaError(
            f"The checkpoint is for other {what}: it has {has}, expected {expected}.",
            where=folder,
            remedy="Load it without naming them, or train again with the ones you want.",
        )
