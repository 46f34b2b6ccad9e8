"""ClipKoa: how images meet words. A knee's embedding against the embeddings of five grade descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.losses import continuation_logits
from koa_kit.model.spec import Component, ModelSpec
from koa_kit.model.torch_grader import TorchGrader
from koa_kit.model.towers import Towers, make_towers
from koa_kit.model.words import check_words
from koa_kit.prompts import PromptSet

COMPONENTS = ("image", "text", "projections")
TEMPERATURE, COLDEST = 0.07, 0.01


class ClipKoa(TorchGrader):
    """Scaled cosine similarities between knees and five grade descriptions (CLIP-KOA, arXiv 2504.19443).

    ``S = scale · cos(P_i f(x), P_t g(t))`` with an image tower f, a text tower g, linear projections P into one space
    and a learned scale. For towers trained together the projections start as the identity; for towers that have never
    met (lite0 and MiniLM) they start at random, and the model can do nothing before training.

    `build_model` makes both of its parts.
    """

    def __init__(self, towers: Towers, spec: ModelSpec):
        super().__init__()
        width = towers.text_width if towers.aligned else min(256, towers.text_width)
        normalize = "per_image" if towers.per_image else spec.normalize
        self.spec = replace(spec, image_size=towers.image_size, embed_dim=spec.embed_dim or width, normalize=normalize)
        self.towers, self.image_tower, self.text_tower = towers, towers.image, towers.text
        self.image_projection = nn.Linear(towers.image_width, self.spec.embed_dim, bias=False)
        self.text_projection = nn.Linear(towers.text_width, self.spec.embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.grade_layer = nn.Linear(towers.image_width, len(GRADES)) if spec.head == "linear" else None
        self._start_projections()
        self.pixel_mean = nn.Buffer(torch.tensor(towers.mean).view(1, 3, 1, 1), persistent=False)
        self.pixel_std = nn.Buffer(torch.tensor(towers.std).view(1, 3, 1, 1), persistent=False)
        # of the training knees' features, so that the projection of a frozen tower starts from comparable units
        self.feature_mean = nn.Buffer(torch.zeros(towers.image_width))
        self.feature_std = nn.Buffer(torch.ones(towers.image_width))
        self.tokens = nn.Buffer(towers.tokenize(spec.prompts.sentences), persistent=False)
        # on the device from the start: nothing is copied there in a step
        self.averages = nn.Buffer(averaging(spec.prompts), persistent=False)
        # the towers' autocast type, None for their own; projections and logits stay in float32
        self.compute_dtype: torch.dtype | None = None
        self._read: Tensor | None = None
        self.lock(spec.locked)

    def _start_projections(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.spec.seed)
            for projection in (self.image_projection, self.text_projection):
                if self.towers.aligned and projection.in_features == self.spec.embed_dim:
                    nn.init.eye_(projection.weight)
                else:
                    nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
            if self.grade_layer is not None:
                nn.init.normal_(self.grade_layer.weight, std=self.grade_layer.in_features**-0.5)
                nn.init.zeros_(self.grade_layer.bias)

    # What is trained

    @property
    def locked(self) -> frozenset[Component]:
        """Components that are not trained, of `COMPONENTS`."""
        return self.spec.locked

    def component(self, name: str) -> dict[str, Tensor]:
        """Parameters of "image", "text" or "projections" (both and the scale, or the linear head), by name."""
        if name == "projections":
            if self.grade_layer is not None:
                return dict(self.grade_layer.named_parameters())
            own = (self.image_projection.weight, self.text_projection.weight, self.logit_scale)
            return dict(zip(("image_projection", "text_projection", "logit_scale"), own, strict=True))
        return dict({"image": self.image_tower, "text": self.text_tower}[name].named_parameters())

    def lock(self, components: Iterable[Component]) -> ClipKoa:
        """The model, with these components no longer trained and all others trained."""
        self.spec, self._read = replace(self.spec, locked=frozenset(components)), None
        # of a linear head nothing flows through the words: what is not used is not trained
        unused = {"text"} if self.grade_layer is not None else set()
        self.requires_grad_(False)
        for name in set(COMPONENTS) - self.locked - unused:
            for parameter in self.component(name).values():
                parameter.requires_grad_(True)
        return self

    def train(self, mode: bool = True) -> ClipKoa:
        """Training mode for what is trained; a locked tower keeps its running statistics and drops nothing.

        So does a batch norm whose gains are frozen, in an image tower of which only the last blocks are trained.
        """
        super().train(mode)
        for name, tower in (("image", self.image_tower), ("text", self.text_tower)):
            if name in self.locked:
                tower.eval()
        for module in self.image_tower.modules():
            frozen = not any(parameter.requires_grad for parameter in module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and frozen:
                module.eval()
        return self

    # From an image to its embedding

    def image_features(self, images: Tensor, *, through_locked: bool = False) -> Tensor:
        """Features ``(N, image_width)`` of images ``(N, height, width)`` as the tower sees them, of 0 to 255.

        Gradients pass a locked tower only with `through_locked`, which an explanation needs.
        """
        if tuple(images.shape[1:]) != self.spec.image_shape:
            expected = " x ".join(map(str, self.spec.image_shape))
            raise KoaError(f"Expected images (N, H, W) of {expected} pixels.", where=f"shape {tuple(images.shape)}")
        pixels = self.normalised(images)
        learns = torch.is_grad_enabled() and (through_locked or "image" not in self.locked)
        with torch.set_grad_enabled(learns), self._autocast():
            return self.image_tower(pixels)

    def normalised(self, images: Tensor) -> Tensor:
        """Images ``(N, height, width)`` of 0 to 255 as the tower's three channels."""
        pixels = images[:, None].to(self.pixel_mean.dtype) / 255
        if self.spec.normalize == "per_image":
            # a spread of 0.02 is a film that shows nothing; dividing by less would only show its noise
            spread, mean = torch.std_mean(pixels, (2, 3), keepdim=True)
            pixels = ((pixels - mean) / (spread + 0.02)).expand(-1, 3, -1, -1)
        else:
            pixels = (pixels - self.pixel_mean) / self.pixel_std
        return pixels.contiguous(memory_format=torch.channels_last) if self.towers.channels_last else pixels

    def _autocast(self):
        return nullcontext() if self.compute_dtype is None else torch.autocast(self.device.type, self.compute_dtype)

    def image_embeddings(self, features: Tensor) -> Tensor:
        """Unit vectors ``(N, D)`` in the space of the prompts for features ``(N, image_width)``."""
        standard = self._standardised(features)
        return functional.normalize(standard if self.grade_layer else self.image_projection(standard), dim=-1)

    def _standardised(self, features: Tensor) -> Tensor:
        standard = (self._compressed(features) - self.feature_mean) / self.feature_std
        return functional.dropout(standard, self.spec.feature_dropout, self.training)

    def _compressed(self, features: Tensor) -> Tensor:
        features = features.to(self.feature_mean.dtype)
        # only where the tower is locked: the slope of a square root at 0 is infinite
        return features.sqrt() if self.towers.compressed and "image" in self.locked else features

    def centre_features(self, features: Tensor) -> None:
        """Take the mean of these training features as origin, and their root mean square spread as unit."""
        features = self._compressed(features)
        # one unit for all: scaled each by its own spread, features that hardly vary would bring in their noise
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.fill_(features.var(0).mean().sqrt().clamp(min=1e-6))

    # From a sentence to its vector

    def sentence_vectors(self, sentences: Sequence[str] | None = None) -> Tensor:
        """Unit vectors ``(P, D)`` of sentences in the space of the images; omitted, of the model's own prompts."""
        if sentences is not None:
            features = self._text_features(self.towers.tokenize(list(sentences)).to(self.device))
        elif "text" not in self.locked:
            features = self._text_features(self.tokens)
        else:
            # a locked tower reads its prompts once in all
            if self._read is None or self._read.device != self.device:
                self._read = self._text_features(self.tokens)
            features = self._read
        return functional.normalize(self.text_projection(features), dim=-1)

    def _text_features(self, tokens: Tensor) -> Tensor:
        if "text" not in self.locked:
            with self._autocast():
                features = self.text_tower(tokens)
        else:
            with torch.inference_mode(False), torch.no_grad():
                features = self.text_tower.eval()(tokens.clone())
        return features.to(self.text_projection.weight.dtype)

    def prompt_embeddings(self) -> Tensor:
        """Unit vectors ``(5, D)`` of the model's prompts, one per grade."""
        return grade_vectors(self.sentence_vectors(), self.averages)

    # From both to an answer

    @property
    def scale(self) -> Tensor:
        """Factor on the cosine, 1 / temperature, at most 100 as in CLIP."""
        return self.logit_scale.clamp(max=math.log(1 / COLDEST)).exp()

    def compare(self, embeddings: Tensor, prompts: Tensor) -> Tensor:
        """Logits ``(N, 5)`` of unit vectors of knees ``(N, D)`` and grades ``(5, D)``: scaled cosines, read out."""
        return self._read_out(self.scale * embeddings @ prompts.T)

    def _read_out(self, numbers: Tensor) -> Tensor:
        return continuation_logits(numbers) if self.spec.output == "corn" else numbers

    def logits(
        self, features: Tensor, features_flip: Tensor | None = None, *, prompts: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Logits ``(N, 5)`` of knees and of their mirror images from features; the second is None where not given.

        The one way from features to logits; the prompts are read once for both views, or given as unit vectors.
        """
        views = [features] if features_flip is None else [features, features_flip]
        if self.grade_layer is not None:
            answers = [self._read_out(self.grade_layer(self._standardised(view))) for view in views]
        else:
            prompts = self.prompt_embeddings() if prompts is None else prompts
            answers = [self.compare(self.image_embeddings(view), prompts) for view in views]
        if features_flip is None:
            return answers[0], None
        return ((answers[0] + answers[1]) / 2,) * 2 if self.spec.flip_pooling else (answers[0], answers[1])

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 5)`` of images as the tower sees them; of both views together with `ModelSpec.flip_pooling`."""
        views = [images, images.flip(-1)] if self.spec.flip_pooling else [images]
        return self.logits(*self.image_features(torch.cat(views)).chunk(len(views)))[0]


def averaging(prompts: PromptSet) -> Tensor:
    """Matrix ``(5, P)`` that takes the mean over the sentences of each grade."""
    of_grade = functional.one_hot(torch.tensor(prompts.grade_of_sentence), len(prompts.prompts)).T.float()
    return of_grade / of_grade.sum(1, keepdim=True)


def grade_vectors(sentences: Tensor, averages: Tensor) -> Tensor:
    """Unit vectors ``(5, D)``: per grade the normalised mean of the unit vectors ``(P, D)`` of its sentences."""
    return functional.normalize(averages @ sentences, dim=-1)


def build_model(spec: ModelSpec | None = None, *, device: str = "cpu", **choices) -> ClipKoa:
    """Untrained model of a `ModelSpec`, or of its fields given by name."""
    if "locked" in choices:
        choices["locked"] = frozenset(choices["locked"])
    spec = ModelSpec(**choices) if spec is None else replace(spec, **choices)
    towers = make_towers(spec.towers, image_size=spec.image_size, seed=spec.seed)
    if spec.crop != "whole" and not towers.channels_last:
        raise KoaError(f"{spec.towers} sees square images only.", where=f"crop={spec.crop}", remedy="Use crop=whole.")
    if spec.head == "prompts":
        check_words(spec.prompts, towers.tokenize)
    # new layers draw their first weights from the global state, which is the caller's
    with torch.random.fork_rng(devices=[]):
        return ClipKoa(towers, spec).to(device)
