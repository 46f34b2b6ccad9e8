"""How deep does a parameter lie? Blocks of a tower, counted from the pixels or tokens upwards."""

from __future__ import annotations

import re

from torch import nn

from koa_kit.errors import KoaError
from koa_kit.model.clip_koa import ClipKoa

# the outermost numbered module: of a convolutional tower the stage, of a transformer the layer
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|resblocks|stages|layers?)\.?\d+(?=\.)")
# parameters of the tower itself are registered before all of its modules; of open_clip's, these come last in the pass
_LAST = {"proj", "text_projection"}


def block_depths(tower: nn.Module) -> dict[str, int]:
    """Depth of every parameter of a tower by its name: 0 before the first block, 1 to n the blocks, n + 1 after them.

    Before the first block lie the stem and the patch, token and position embeddings; after the last one the last norm,
    a convolutional head, pooling and projection. A block is a stage of a convolutional tower or a layer of a
    transformer, told by its name (``blocks.3``, ``resblocks.3``, ``stages.3``, ``layer.3``, ``layers.3``, ``layer3``);
    what has no such name lies where it was registered, and between two blocks it belongs to the one before. In a tower
    without blocks everything has depth 0.

    Parameters
    ----------
    tower
        Image or text tower of open_clip, timm or Hugging Face.

    Examples
    --------
    >>> tower = nn.ModuleDict({"stem": nn.Linear(2, 2), "blocks": nn.Sequential(nn.Linear(2, 2)), "head": nn.PReLU()})
    >>> block_depths(tower)
    {'stem.weight': 0, 'stem.bias': 0, 'blocks.0.weight': 1, 'blocks.0.bias': 1, 'head.weight': 2}
    """
    number = {block: place for place, block in enumerate(_blocks(tower), start=1)}
    depths, reached = {}, 0
    for name, _ in tower.named_parameters():
        if name in _LAST and number:
            depths[name] = len(number) + 1
            continue
        reached = number.get(_block(name), reached)
        ended = number and reached == len(number) and _block(name) is None
        depths[name] = reached + 1 if ended else reached
    return depths


def train_last_blocks(model: ClipKoa, blocks: int) -> None:
    """Leave trainable, of a trained image tower, only the last `blocks` blocks and what comes after them.

    `ClipKoa.lock` undoes it.

    Parameters
    ----------
    model
        Its image tower must not be locked.
    blocks
        How many; 0 changes nothing. All of them still freeze what comes before the first.

    Raises
    ------
    KoaError
        If the image tower is locked or has fewer blocks.
    """
    if not blocks:
        return
    if "image" in model.locked:
        raise KoaError(
            "The image tower is locked: none of its blocks is trained.",
            where=f"trained_blocks={blocks}",
            remedy="Choose regime=finetune, or trained_blocks=0.",
        )
    count = len(_blocks(model.image_tower))
    if not 0 < blocks <= count:
        raise KoaError(
            f"The image tower of {model.towers.name} has {count} blocks.",
            where=f"trained_blocks={blocks}",
            remedy=f"Choose 1 to {count}, or 0 to train the whole tower." if count else "Choose 0: train all of it.",
        )
    depths = block_depths(model.image_tower)
    for name, parameter in model.image_tower.named_parameters():
        parameter.requires_grad_(depths[name] > count - blocks)


def _blocks(tower: nn.Module) -> list[str]:
    """Names of the blocks in order."""
    found = (_block(name) for name, _ in tower.named_parameters())
    return list(dict.fromkeys(block for block in found if block))


def _block(parameter: str) -> str | None:
    """Name of the block a parameter lies in, None where it lies in none."""
    match = _BLOCK.search(parameter)
    return parameter[: match.end()] if match else None
