"""Zeng et al., "Simultaneous single- and multi-contrast super-resolution for brain MRI images based on a convolutional neural
network", Computers in Biology and Medicine 99:133-141, 2018: what its abstract says; layers as the suite's card states them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edsr import ResBlock, Upsampler
from .training import Build, Images


class Network(nn.Module):
    """Single-contrast at LR size, then, with that image and the auxiliary, multi-contrast at HR size, by the same body."""

    def __init__(self, scale: int, width: int, blocks: int, scaling: float) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, width, 5, padding=2)
        self.body = nn.Sequential(
            *[ResBlock(width, scaling) for _ in range(blocks)], nn.Conv2d(width, width, 3, padding=1)
        )
        self.upsampler = Upsampler(width, scale)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)
        self.guided_head = nn.Conv2d(2, width, 5, padding=2)
        self.guided_tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, target_lr: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        x = self.head(target_lr)
        single = self.tail(self.upsampler(x + self.body(x)))
        y = self.guided_head(torch.cat([single, auxiliary], dim=1))
        return self.guided_tail(y + self.body(y)), single


class Zeng(Build):
    """Both images are in the loss; the multi-contrast one is the prediction."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.network = Network(scale, settings["width"], settings["blocks"], settings["residual_factor"])

    def output(self, images: Images) -> tuple[Tensor, Tensor]:
        return self.network(images.target_magnitude(images.target_lr), images.auxiliary_magnitude(images.auxiliary))

    def loss(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        target = images.target_magnitude(images.target)
        return F.l1_loss(output[0], target) + self.settings["stage1_weight"] * F.l1_loss(output[1], target)

    def image(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        return images.physical(output[0])
