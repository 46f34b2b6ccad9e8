"""The image tower of koa-tiny: a plain convolutional network small enough to learn from scratch in seconds."""

from __future__ import annotations

from itertools import pairwise

from timm.models import register_model
from torch import Tensor, nn

CHANNELS = (16, 32, 48, 96)


class KoaConv(nn.Module):
    """Four strided convolutions, mean pooling, one linear layer: float ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Radiographs are grey, so the first of the three equal channels is all it looks at. No skip connections: with four
    layers they cost time and bring nothing.
    """

    def __init__(self, num_classes: int = 64):
        super().__init__()
        self.stem = _block(1, CHANNELS[0], kernel=5)
        self.blocks = nn.Sequential(*(_block(before, after, kernel=3) for before, after in pairwise(CHANNELS)))
        self.head = nn.Linear(CHANNELS[-1], num_classes)
        self.num_features = CHANNELS[-1]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(pixels[:, :1])).mean((2, 3)))


def _block(before: int, after: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


@register_model
def koa_conv(pretrained: bool = False, num_classes: int = 64, **_) -> KoaConv:
    """`KoaConv` under the name by which open_clip's configuration ``koa-tiny.json`` asks timm for it."""
    return KoaConv(num_classes)
