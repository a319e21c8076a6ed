"""EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017, section 3.

Up-sampling by sub-pixel convolution: Shi et al., CVPR 2016, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .training import Build, Images


class ResBlock(nn.Module):
    """Two convolutions, no batch normalisation, the residual scaled (section 3)."""

    def __init__(self, width: int, scaling: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.conv1(x)))
        return x + out * self.scaling


class Upsampler(nn.Sequential):
    """A convolution and a pixel shuffle per factor of 2."""

    def __init__(self, width: int, scale: int) -> None:
        layers: list[nn.Module] = []
        while scale > 1:
            layers.append(nn.Conv2d(width, 4 * width, 3, padding=1))
            layers.append(nn.PixelShuffle(2))
            scale //= 2
        super().__init__(*layers)


class Network(nn.Module):
    """Head, residual blocks, long skip, up-sampler, one convolution to the image. Scale 1 keeps the size."""

    def __init__(self, scale: int, width: int, blocks: int, scaling: float) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(*[ResBlock(width, scaling) for _ in range(blocks)])
        self.body_end = nn.Conv2d(width, width, 3, padding=1)
        self.upsampler = Upsampler(width, scale)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = x + self.body_end(self.blocks(x))
        return self.tail(self.upsampler(x))


class EDSR(Build):
    """EDSR on the target contrast, with an L1 loss."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.network = Network(scale, settings["width"], settings["blocks"], settings["residual_factor"])

    def output(self, images: Images) -> Tensor:
        return self.network(images.target_magnitude(images.target_lr))

    def loss(self, output: Tensor, images: Images) -> Tensor:
        return F.l1_loss(output, images.target_magnitude(images.target))
