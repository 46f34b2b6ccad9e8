"""What a model is: every choice its answers depend on, in one record that is written into the checkpoint."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from koa_kit.configuration import OneOf, choices
from koa_kit.grades import RULES
from koa_kit.prompts import from_texts, prompt_set

Crop = Literal["whole", "joint"]
Normalize = Literal["pretrained", "per_image"]
Head = Literal["prompts", "linear"]
Output = Literal["softmax", "corn"]
Component = Literal["image", "text", "projections"]

CROPS = {"whole": (0.0, 1.0), "joint": (0.18, 0.83)}
"""Share of the height at which a crop begins and ends; always the whole width, whose edges bear the osteophytes."""


@choices
class ModelSpec:
    """What a model is.

    Attributes
    ----------
    towers, prompts
        Name for `make_towers`; what each grade says, where a name or five texts become a `PromptSet`.
    image_size
        Width in pixels of what the image tower sees; 0 is what the tower was made for.
    crop
        "whole": the whole radiograph; "joint": the band around the joint line, at more pixels per millimetre.
    normalize
        "pretrained": pixels as the tower's pretraining had them; "per_image": each by its own mean and spread.
    head
        "prompts": similarity of image and grade descriptions (CLIP); "linear": a linear layer on the image features,
        which reads no words.
    output
        How five similarities are read: "softmax", as logits; "corn", as steps, see `continuation_logits`.
    canonical_side
        Every left knee is mirrored first, so that all look like right knees.
    flip_pooling
        The answer is the mean of the logits of a knee and of its mirror image: the same for both.
    rule
        Which grade the probabilities stand for, of `koa_kit.grades.RULES`.
    embed_dim
        Length of the embedding that images and prompts share; 0: the text width for towers trained together, else at
        most 256.
    locked, seed
        Components that are not trained; a seed of weights that start at random.
    feature_dropout
        Share of the image features left out at random in training: it keeps a probe of a thousand features on a few
        thousand knees from learning them by heart.
    """

    towers: str = "koa-tiny"
    prompts: Any = "paper"
    image_size: Annotated[int, Field(ge=0, le=4096)] = 0
    crop: Crop = "whole"
    normalize: Normalize = "pretrained"
    head: Head = "prompts"
    output: Output = "softmax"
    canonical_side: bool = False
    flip_pooling: bool = False
    rule: Annotated[str, OneOf(RULES)] = RULES[0]
    embed_dim: Annotated[int, Field(ge=0, le=65_536)] = 0
    locked: frozenset[Component] = frozenset({"text"})
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self):
        object.__setattr__(self, "prompts", prompt_set(self.prompts))

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width in pixels of what the image tower sees; a cropped height is a multiple of 8."""
        return crop_shape(self.image_size, self.crop)

    def record(self) -> dict:
        """The choices as JSON can hold them; `ModelSpec.read` takes them back."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return own | {"prompts": self.prompts.to_dict(), "locked": sorted(self.locked)}

    @classmethod
    def read(cls, record: dict) -> ModelSpec:
        """Choices kept by `record`, whole."""
        prompts = record["prompts"]
        words = from_texts(prompts["prompts"], prompts["name"], prompts["source"], prompts["note"])
        return cls(**record | {"prompts": words, "locked": frozenset(record["locked"])})

    @classmethod
    def read_format_1(cls, record: dict) -> ModelSpec:
        """Choices of a checkpoint from before they stood in one record; what it does not name was not yet a choice."""
        names = ("towers", "image_size", "embed_dim", "flip_pooling", "head", "seed", "crop", "prompts", "locked")
        return cls.read(
            {name: record[name] for name in names if name in record}
            | {
                "normalize": "per_image" if record.get("exposure") == "own" else "pretrained",
                "output": "corn" if record.get("link") == "continuation" else "softmax",
                "canonical_side": record.get("method") == "canonical_side",
            }
        )


def crop_rows(height: int, crop: Crop) -> slice:
    """Rows of a radiograph of this height that lie inside the crop."""
    begin, end = CROPS[crop]
    return slice(round(height * begin), round(height * end))


def crop_shape(width: int, crop: Crop) -> tuple[int, int]:
    """Height and width in pixels of a crop that wide.

    Examples
    --------
    >>> crop_shape(128, "whole"), crop_shape(160, "joint")
    ((128, 128), (104, 160))
    """
    rows = crop_rows(1000, crop)
    share = (rows.stop - rows.start) / 1000
    return (width, width) if share == 1 else (round(width * share / 8) * 8, width)
