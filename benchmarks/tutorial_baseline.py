"""CLIP fine-tuned on captioned images as tutorials write it: the baseline that the kit is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler

from koa_kit.cohort import Cohort
from koa_kit.engine.lean_relu6 import LeanReLU6
from koa_kit.errors import KoaError
from koa_kit.model import Towers
from koa_kit.prompts import PromptSet, prompt_set

CAPTIONS = {
    "view": "the text tower reads a caption for every image it is shown, the mirror image included",
    "knee": "the text tower reads a caption for every knee, and its features serve both views",
}
CONTEXT_LENGTH = 77
"""Tokens to which open_clip pads a caption unless told otherwise."""


class CaptionedKnees(Dataset):
    """Pairs of a preprocessed radiograph ``(3, size, size)`` and the tokens ``(L,)`` of its caption, from PNG files.

    A file is opened when its knee is asked for. The five captions, one per grade, are tokenised once, at the start.
    """

    def __init__(self, cohort: Cohort, folder: str | Path, towers: Towers, captions: list[str]):
        from open_clip import image_transform

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.files = [folder / f"{row:06d}.png" for row in range(len(cohort))]
        for file, image in zip(self.files, cohort.images, strict=True):
            Image.fromarray(image).save(file)
        self.preprocess = image_transform(towers.image_size, is_train=True, mean=towers.mean, std=towers.std)
        self.grades = cohort.table["kl"].tolist()
        self.tokens = towers.tokenize([captions[grade] for grade in self.grades], context_length=CONTEXT_LENGTH)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        return self.preprocess(Image.open(self.files[row])), self.tokens[row], self.grades[row]


class DualEncoder(nn.Module):
    """Both towers, a projection each where their features differ in length, and a temperature; called like CLIP."""

    def __init__(self, towers: Towers):
        super().__init__()
        self.visual, self.text = towers.image, towers.text
        width = towers.text_width
        same = towers.image_width == width
        self.projection = nn.Identity() if same else nn.Linear(towers.image_width, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Unit vectors ``(N, D)`` of images."""
        return functional.normalize(self.projection(self.visual(pixels)), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors ``(N, D)`` of captions."""
        return functional.normalize(self.text(tokens), dim=-1)

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image features, text features and the scale of their similarities, as open_clip's models answer."""
        return self.encode_image(pixels), self.encode_text(tokens), self.logit_scale.exp()


class TutorialStep:
    """One step of the tutorial baseline: called, it trains on the next batch and returns the loss on the device.

    What is in it, after the fine-tuning loop that most tutorials repeat (openai/CLIP, issue 83):

    - a `Dataset` opens PNG files with PIL, preprocesses them with open_clip's stock training transform (crop of 90 to
      100 % of the area, bicubic, three channels), and a shuffling `DataLoader` collates them;
    - both towers are trained, with AdamW, in torch's default memory format and with torch's own activations;
    - captions are padded to the 77 tokens that are open_clip's default;
    - the mirror image (Symmetry and Consistency Loss need it) is a second call of the model, as in
      ``model(images, tokens)`` and ``model(images.flip(-1), tokens)``: two forward passes, and by `captions` the
      text tower reads the captions of both;
    - the loss is CLIP's: cross-entropy over the similarities of the batch's images and captions, both ways. Captions
      of one grade are the same words, so a knee's target is spread over all captions of its grade (as in UniCL). The
      consistency term is the mean squared difference of the two views' similarities.

    What is not held against it: precision and number of images are those of the kit's step, captions are tokenised
    beforehand, files lie in the operating system's memory after the first epoch, the mirror image is made from the
    tensor rather than read again, and the loss is not read back from the device after each step.

    The towers are trained in place, and `folder`, empty, is where the files go. The first sentence of a grade is the
    caption of its knees. The `workers` load for `steps` alone, and a call loads in line: processes that load ahead
    would take their time from whatever is measured between two calls.
    """

    def __init__(
        self,
        towers: Towers,
        cohort: Cohort,
        folder: str | Path,
        *,
        batch: int,
        prompts: str | PromptSet = "paper",
        flip: bool = True,
        captions: str = "view",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        workers: int = 0,
        learning_rate: float = 1e-5,
        seed: int = 0,
    ):
        if captions not in CAPTIONS:
            raise KoaError(f"There is no way {captions!r} to caption.", remedy=f"Choose from {', '.join(CAPTIONS)}.")
        if len(cohort) < batch:
            raise KoaError(f"{len(cohort)} knees do not fill a batch of {batch}.", remedy="Choose a smaller batch.")
        sentences = [texts[0] for texts in prompt_set(prompts).prompts]
        self.dataset = CaptionedKnees(cohort, folder, towers, sentences)
        self.batch, self.flip, self.captions, self.workers = batch, flip, captions, workers
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = DualEncoder(towers)
        _as_it_comes(towers.image)
        self.model.to(self.device, memory_format=torch.contiguous_format).train()
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=learning_rate, weight_decay=0.2)
        self.endless = self._endless()

    def __call__(self) -> Tensor:
        """Loss before the step, on the device; the batch is loaded in line."""
        return self._train(next(self.endless))

    def steps(self, count: int) -> Iterator[Tensor]:
        """Losses of `count` steps from one pass of a loader with `workers` processes, which end with it."""
        drawn = RandomSampler(self.dataset, num_samples=count * self.batch)
        for loaded in self._loader(sampler=drawn, num_workers=self.workers):
            yield self._train(loaded)

    def _endless(self) -> Iterator:
        while True:
            yield from self._loader(shuffle=True, drop_last=True)

    def _loader(self, **options) -> DataLoader:
        return DataLoader(self.dataset, self.batch, pin_memory=self.device.type == "cuda", **options)

    def _train(self, loaded) -> Tensor:
        images, tokens, grades = (part.to(self.device, non_blocking=True) for part in loaded)
        same = (grades[:, None] == grades[None, :]).float()
        targets = same / same.sum(1, keepdim=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            image_features, text_features, scale = self.model(images, tokens)
            logits = scale * image_features @ text_features.T
            loss = _clip_loss(logits, targets)
            if self.flip:
                if self.captions == "view":
                    image_features, text_features, scale = self.model(images.flip(-1), tokens)
                else:
                    image_features = self.model.encode_image(images.flip(-1))
                logits_flip = scale * image_features @ text_features.T
                loss = loss + _clip_loss(logits_flip, targets) + functional.mse_loss(logits_flip, logits)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def _as_it_comes(tower: nn.Module) -> None:
    """Undo what the kit changed in a tower of timm: its activations, see `koa_kit.engine.lean_relu6`."""
    for block in tower.modules():
        if isinstance(getattr(block, "act", None), LeanReLU6):
            block.act = nn.ReLU6(inplace=True)


def _clip_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2
