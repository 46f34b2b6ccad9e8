"""ClipKoa: how images meet words. A knee's embedding against the embeddings of five grade descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from koa_kit.errors import KoaError
from koa_kit.model.answers import HEADS, LINKS, continuation_logits
from koa_kit.model.crops import crop_rows
from koa_kit.model.towers import Towers, make_towers
from koa_kit.prompts import PromptSet, prompt_set

COMPONENTS = ("image", "text", "projections")
TEMPERATURE, COLDEST = 0.07, 0.01


class ClipKoa(nn.Module):
    """Scaled cosine similarities between knees and five grade descriptions (CLIP-KOA, arXiv 2504.19443).

    ``S = scale · cos(P_i f(x), P_t g(t))`` with an image tower f, a text tower g, linear projections P into one space
    and a learned scale. For towers trained together the projections start as the identity; for towers that have never
    met (lite0 and MiniLM) they start at random, and the model can do nothing before training.

    Parameters
    ----------
    towers
        From `make_towers`.
    prompts
        Prompt set or its name.
    embed_dim
        Length of the shared embedding; omitted: the text width for aligned towers, else 256 or the smaller width.
    locked
        Components that are not trained, of "image", "text", "projections". A locked text tower encodes its prompts
        once in all.
    flip_pooling
        Answer with the mean of the logits of an image and its mirror image: flip-invariant by construction.
    feature_dropout
        Share of the image features left out at random in training, 0 to 1: what holds a probe of a thousand features
        on a few thousand knees back from learning them by heart.
    head, link
        Of `HEADS` and `LINKS`: what gives a knee five numbers, and how they are read. With the head "linear" no text
        is used, and image embeddings are the features themselves.
    seed
        Of the projections that start at random.
    """

    def __init__(
        self,
        towers: Towers,
        prompts: str | PromptSet = "paper",
        *,
        embed_dim: int | None = None,
        locked: Iterable[str] = ("text",),
        flip_pooling: bool = False,
        feature_dropout: float = 0.0,
        head: str = "prompts",
        link: str = "softmax",
        seed: int = 0,
    ):
        super().__init__()
        for name, chosen, known in (("head", head, HEADS), ("link", link, LINKS)):
            if chosen not in known:
                raise KoaError(f"There is no {name} {chosen!r}.", remedy=f"Choose from {', '.join(known)}.")
        self.head, self.link = head, link
        self.feature_dropout = feature_dropout
        self.towers, self.prompts, self.flip_pooling = towers, prompt_set(prompts), flip_pooling
        self.image_tower, self.text_tower = towers.image, towers.text
        self.embed_dim = embed_dim or (towers.text_width if towers.aligned else min(256, towers.text_width))
        self.image_projection = nn.Linear(towers.image_width, self.embed_dim, bias=False)
        self.text_projection = nn.Linear(towers.text_width, self.embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.grade_layer = nn.Linear(towers.image_width, len(self.prompts.prompts)) if head == "linear" else None
        self._start_projections(seed)
        self.register_buffer("pixel_mean", torch.tensor(towers.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(towers.std).view(1, 3, 1, 1), persistent=False)
        # of the training knees' features, so that the projection of a frozen tower starts from comparable units
        self.register_buffer("feature_mean", torch.zeros(towers.image_width))
        self.register_buffer("feature_std", torch.ones(towers.image_width))
        grades = torch.tensor(self.prompts.grade_of_sentence)
        averaging = functional.one_hot(grades, len(self.prompts.prompts)).T.float()
        self.register_buffer("averaging", averaging / averaging.sum(1, keepdim=True), persistent=False)
        self.register_buffer("tokens", towers.tokenize(self.prompts.sentences), persistent=False)
        self.register_buffer("prompt_features", None, persistent=False)
        # the towers' autocast type, None for their own; projections and logits stay in float32
        self.compute_dtype: torch.dtype | None = None
        self.locked: frozenset[str] = frozenset()
        self.lock(locked)

    def _start_projections(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for projection in (self.image_projection, self.text_projection):
                if self.towers.aligned and projection.in_features == self.embed_dim:
                    nn.init.eye_(projection.weight)
                else:
                    nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
            if self.grade_layer is not None:
                nn.init.normal_(self.grade_layer.weight, std=self.grade_layer.in_features**-0.5)
                nn.init.zeros_(self.grade_layer.bias)

    def component(self, name: str) -> list[nn.Parameter]:
        """Parameters of one component: "image", "text", or "projections" (both and the scale, or the linear head)."""
        if name == "projections":
            if self.grade_layer is not None:
                return list(self.grade_layer.parameters())
            return [*self.image_projection.parameters(), *self.text_projection.parameters(), self.logit_scale]
        return list({"image": self.image_tower, "text": self.text_tower}[name].parameters())

    def lock(self, components: Iterable[str]) -> ClipKoa:
        """Stop training these components and train all others; returns the model."""
        locked = frozenset(components)
        if unknown := locked - set(COMPONENTS):
            raise KoaError(f"There is no component {min(unknown)!r} to lock.", remedy=f"Choose from {COMPONENTS}.")
        self.locked, self.prompt_features = locked, None
        if self.grade_layer is not None:
            # nothing flows through the words: what is not used is not trained
            for parameter in self.parameters():
                parameter.requires_grad_(False)
        for name in COMPONENTS:
            for parameter in self.component(name):
                parameter.requires_grad_(name not in locked and not (name == "text" and self.grade_layer is not None))
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

    def image_features(self, images: Tensor) -> Tensor:
        """Features ``(N, image_width)`` of the image tower for uint8 or 0-255 float ``(N, H, W)`` radiographs.

        Images of the tower's own shape are taken as they are, all others as whole radiographs: cropped and resampled.
        """
        if images.ndim != 3:
            raise KoaError("Expected grey images (N, H, W).", where=f"shape {tuple(images.shape)}")
        shape = self.towers.image_shape
        whole = tuple(images.shape[-2:]) != shape
        if whole:
            images = images[:, crop_rows(images.shape[1], self.towers.crop)]
        pixels = images[:, None].to(self.pixel_mean.dtype) / 255
        if whole:
            pixels = functional.interpolate(pixels, shape, mode="bilinear", antialias=True, align_corners=False)
        if self.towers.own_exposure:
            # a spread of 0.02 is a film that shows nothing; dividing by less would only show its noise
            spread, mean = torch.std_mean(pixels, (2, 3), keepdim=True)
            pixels = ((pixels - mean) / (spread + 0.02)).expand(-1, 3, -1, -1)
        else:
            pixels = (pixels - self.pixel_mean) / self.pixel_std
        if self.towers.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and "image" not in self.locked), self._autocast():
            return self.image_tower(pixels)

    def _autocast(self):
        device, dtype = self.logit_scale.device.type, self.compute_dtype
        return nullcontext() if dtype is None else torch.autocast(device, dtype)

    def text_features(self) -> Tensor:
        """Features ``(P, text_width)`` of all sentences of the prompt set; kept when the text tower is locked."""
        if "text" not in self.locked:
            with self._autocast():
                return self.text_tower(self.tokens)
        if self.prompt_features is None:
            training = self.text_tower.training
            with torch.no_grad():
                self.prompt_features = self.text_tower.eval()(self.tokens).float()
            self.text_tower.train(training)
        return self.prompt_features

    def image_embeddings(self, features: Tensor) -> Tensor:
        """Unit vectors ``(N, D)`` in the shared space for features ``(N, image_width)``."""
        standard = self._standardised(features)
        return functional.normalize(standard if self.grade_layer else self.image_projection(standard), dim=-1)

    def _standardised(self, features: Tensor) -> Tensor:
        standard = (self._compressed(features) - self.feature_mean) / self.feature_std
        return functional.dropout(standard, self.feature_dropout, self.training)

    def _compressed(self, features: Tensor) -> Tensor:
        features = features.to(self.feature_mean.dtype)
        # only where the tower is locked: the slope of a square root at 0 is infinite
        return features.sqrt() if self.towers.compressed and "image" in self.locked else features

    def prompt_embeddings(self) -> Tensor:
        """Unit vectors ``(5, D)``, one a grade: the normalised mean of its sentences' unit vectors."""
        features = self.text_features().to(self.text_projection.weight.dtype)
        sentences = functional.normalize(self.text_projection(features), dim=-1)
        return functional.normalize(self.averaging @ sentences, dim=-1)

    @property
    def scale(self) -> Tensor:
        """Factor on the cosine, 1 / temperature, at most 100 as in CLIP."""
        return self.logit_scale.clamp(max=math.log(1 / COLDEST)).exp()

    def similarities(self, *features: Tensor) -> tuple[Tensor, ...]:
        """Logits ``(N, 5)`` for each batch of features; the prompts are encoded once for all.

        Scaled cosine similarities, or what the linear head says, as the link reads them.
        """
        if self.grade_layer is not None:
            answers = [self.grade_layer(self._standardised(batch)) for batch in features]
        else:
            prompts = self.prompt_embeddings()
            answers = [self.scale * self.image_embeddings(batch) @ prompts.T for batch in features]
        return tuple(map(continuation_logits, answers)) if self.link == "continuation" else tuple(answers)

    def from_features(self, features: Tensor, features_flip: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits ``(N, 5)`` of knees and of their mirror images from features; the second is None where not given."""
        if features_flip is None:
            return self.similarities(features)[0], None
        logits, logits_flip = self.similarities(features, features_flip)
        if self.flip_pooling:
            logits = logits_flip = (logits + logits_flip) / 2
        return logits, logits_flip

    def forward_pair(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(N, 5)`` of radiographs ``(N, H, W)`` and of their mirror images, in one pass of the image tower."""
        features = self.image_features(torch.cat([images, images.flip(-1)]))
        return self.from_features(*features.chunk(2))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 5)`` of radiographs ``(N, H, W)``; of both views together where `flip_pooling` is set."""
        if self.flip_pooling:
            return self.forward_pair(images)[0]
        return self.similarities(self.image_features(images))[0]

    def centre_features(self, features: Tensor) -> None:
        """Take the mean of these training features as origin, and their root mean square spread as unit.

        One unit for all features: scaling each by its own spread would raise those that hardly vary to the level of
        those that do, and the projection then learns their noise.
        """
        features = self._compressed(features)
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.fill_(features.var(0).mean().sqrt().clamp(min=1e-6))


def make_model(
    towers: str = "koa-tiny",
    prompts: str | PromptSet = "paper",
    *,
    image_size: int | None = None,
    crop: str = "whole",
    exposure: str = "tower",
    locked: Iterable[str] = ("text",),
    flip_pooling: bool = False,
    feature_dropout: float = 0.0,
    head: str = "prompts",
    link: str = "softmax",
    seed: int = 0,
    device: str = "cpu",
) -> ClipKoa:
    """Model ready to train: towers by name, a prompt set, and projections, on `device`.

    See `make_towers` and `ClipKoa` for the parameters.
    """
    made = make_towers(towers, image_size=image_size, crop=crop, exposure=exposure, seed=seed)
    # new layers draw their first weights from the global state, which is the caller's
    with torch.random.fork_rng(devices=[]):
        model = ClipKoa(
            made,
            prompts,
            locked=locked,
            flip_pooling=flip_pooling,
            feature_dropout=feature_dropout,
            head=head,
            link=link,
            seed=seed,
        )
    return model.to(device)
