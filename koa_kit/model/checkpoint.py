"""Checkpoints: the trained components as safetensors, everything else about the model as JSON. Never pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from koa_kit.errors import KoaError
from koa_kit.model.clip_koa import ClipKoa, make_model
from koa_kit.paths import replacing
from koa_kit.prompts import PromptSet, from_texts, prompt_set
from koa_kit.versions import versions

FORMAT = 1
_TOWER_PREFIX = {"image": "image_tower.", "text": "text_tower."}


def save_checkpoint(model: ClipKoa, folder: str | Path, *, half: bool = False, **facts) -> Path:
    """Write ``model.safetensors`` and ``model.json`` into `folder` and return it.

    A tower that is locked and pretrained is not written: its weights are the published ones, whose sha256 is kept and
    compared on loading.

    Parameters
    ----------
    model
        Model to keep.
    folder
        Run folder, created where missing.
    half
        Write matrices and kernels as float16, half the size: the model that is loaded has them rounded, see
        `round_to_half`. Gains, biases and statistics of batch norms stay float32.
    **facts
        More to remember in ``model.json``, for example ``seed`` and ``cohort_fingerprint``.
    """
    folder = Path(folder)
    towers, left_out = model.towers, _left_out(model)
    state = {
        name: (value.half() if half and value.ndim > 1 else value).detach().cpu().contiguous()
        for name, value in _stored(model).items()
    }
    record = {
        "format": FORMAT,
        "towers": towers.name,
        "image_size": towers.image_size,
        "crop": towers.crop,
        "exposure": "own" if towers.own_exposure else "tower",
        "weights": towers.weights,
        "quick_gelu": towers.quick_gelu,
        "embed_dim": model.embed_dim,
        "locked": sorted(model.locked),
        "flip_pooling": model.flip_pooling,
        "head": model.head,
        "link": model.link,
        "prompts": model.prompts.to_dict(),
        "prompts_fingerprint": model.prompts.fingerprint,
        "label_names": list(model.prompts.label_names),
        "not_stored": left_out,
        "versions": versions(),
        **facts,
    }
    with replacing(folder / "model.safetensors") as path:
        save_file(state, path)
    with replacing(folder / "model.json") as path:
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


@torch.no_grad()
def round_to_half(model: ClipKoa) -> None:
    """Round, in place, what `save_checkpoint` would round with ``half``: the model then answers as the loaded one."""
    for value in _stored(model).values():
        if value.ndim > 1:
            value.copy_(value.half())
    # the prompts were encoded with other weights
    model.prompt_features = None


def _left_out(model: ClipKoa) -> list[str]:
    return [_TOWER_PREFIX[name] for name in sorted(model.locked & set(model.towers.weights))]


def _stored(model: ClipKoa) -> dict[str, Tensor]:
    left_out = tuple(_left_out(model))
    return {name: value for name, value in model.state_dict().items() if not name.startswith(left_out)}


def read_record(folder: str | Path) -> dict:
    """Contents of ``model.json`` of a run folder."""
    path = Path(folder) / "model.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KoaError("There is no checkpoint here.", where=folder, remedy="Train first: koa train --help.") from None
    except json.JSONDecodeError as error:
        raise KoaError(f"The checkpoint's record is not JSON: {error}", where=path, remedy="Train again.") from error
    if record.get("format") != FORMAT:
        raise KoaError(
            f"The checkpoint has format {record.get('format')!r}; this kit reads {FORMAT}.",
            where=path,
            remedy="Use the version of koa_kit that wrote it.",
        )
    return record


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
    stored = from_texts(record["prompts"]["prompts"], **{k: record["prompts"][k] for k in ("name", "source", "note")})
    _expect("towers", record["towers"], record["towers"] if towers is None else towers, folder)
    expected = stored if prompts is None else prompt_set(prompts)
    _expect("prompts", f"{stored.name} ({record['prompts_fingerprint']})", f"{expected.name} ({expected.fingerprint})",
            folder, same=record["prompts_fingerprint"] == expected.fingerprint)  # fmt: skip
    # what a checkpoint does not name is from before there was a choice
    model = make_model(
        record["towers"],
        stored,
        image_size=record["image_size"],
        crop=record.get("crop", "whole"),
        exposure=record.get("exposure", "tower"),
        locked=record["locked"],
        flip_pooling=record["flip_pooling"],
        head=record.get("head", "prompts"),
        link=record.get("link", "softmax"),
        seed=record.get("seed", 0),
    )
    _expect("quick_gelu", record["quick_gelu"], model.towers.quick_gelu, folder)
    needed = {name: record["weights"][name] for name, prefix in _TOWER_PREFIX.items() if prefix in record["not_stored"]}
    for name, sha256 in needed.items():
        _expect(f"pretrained {name} weights", sha256, model.towers.weights.get(name), folder)
    _load_state(model, folder / "model.safetensors", tuple(record["not_stored"]))
    return model.eval().to(device)


def _load_state(model: ClipKoa, path: Path, not_stored: tuple[str, ...]) -> None:
    try:
        state = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise KoaError(
            f"The checkpoint's weights cannot be read: {error}", where=path, remedy="Train again."
        ) from error
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(not_stored)}
    differing = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
    if differing:
        raise KoaError(
            f"The checkpoint's weights are for another model: {differing[0]} and {len(differing) - 1} more differ.",
            where=path,
            remedy="Train again with this version of the kit.",
        )
    model.load_state_dict(state, strict=False)


def _expect(what: str, found: object, expected: object, folder: Path, *, same: bool | None = None) -> None:
    if not (found == expected if same is None else same):
        raise KoaError(
            f"The checkpoint is for other {what}: it has {found}, expected {expected}.",
            where=folder,
            remedy="Load it without naming them, or train again with the ones you want.",
        )
