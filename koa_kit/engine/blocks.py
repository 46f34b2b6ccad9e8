"""How deep does a parameter lie? Blocks of a tower, counted from the pixels or tokens upwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from koa_kit.errors import KoaError

# the outermost numbered module: of a convolutional tower the stage, of a transformer the layer
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|resblocks|stages|layers?)\.?\d+(?=\.)")
# parameters of the tower itself are registered before all of its modules; of open_clip's, these come last in the pass
_LAST = {"proj", "text_projection"}


def block_depths(parameters: Iterable[str]) -> dict[str, int]:
    """Depth of every parameter of a tower by its name: 0 before the first block, 1 to n the blocks, n + 1 after them.

    Before the first block lie the stem and the patch, token and position embeddings; after the last one the last norm,
    a convolutional head, pooling and projection. A block is a stage of a convolutional tower or a layer of a
    transformer, known by its name (``blocks.3``, ``resblocks.3``, ``stages.3``, ``layer.3``, ``layers.3``, ``layer3``);
    what has no such name lies where it was registered, and between two blocks it belongs to the one before. In a tower
    without blocks everything has depth 0. Names are as ``named_parameters`` gives them, of an image or text tower of
    open_clip, timm or Hugging Face.

    Examples
    --------
    >>> block_depths(["stem.weight", "blocks.0.weight", "blocks.0.bias", "head.weight"])
    {'stem.weight': 0, 'blocks.0.weight': 1, 'blocks.0.bias': 1, 'head.weight': 2}
    """
    parameters = list(parameters)
    number: dict[str | None, int] = {block: place for place, block in enumerate(block_names(parameters), start=1)}
    depths, reached = {}, 0
    for name in parameters:
        if name in _LAST and number:
            depths[name] = len(number) + 1
            continue
        reached = number.get(_block(name), reached)
        ended = number and reached == len(number) and _block(name) is None
        depths[name] = reached + 1 if ended else reached
    return depths


def block_names(parameters: Iterable[str]) -> list[str]:
    """Names of the blocks in order."""
    return list(dict.fromkeys(block for block in map(_block, parameters) if block))


def freeze_below(named: Mapping[str, Tensor], blocks: int) -> None:
    """Leave trainable, of a tower's parameters, only those of the last `blocks` blocks and of what comes after them."""
    count = len(block_names(named))
    if blocks > count:
        raise KoaError(
            f"The image tower has {count} blocks.",
            where=f"trained_blocks={blocks}",
            remedy=f"Choose 1 to {count}, or 0 to train the whole tower." if count else "Choose 0: train all of it.",
        )
    for name, depth in block_depths(named).items():
        named[name].requires_grad_(depth > count - blocks)


def _block(parameter: str) -> str | None:
    match = _BLOCK.search(parameter)
    return parameter[: match.end()] if match else None
