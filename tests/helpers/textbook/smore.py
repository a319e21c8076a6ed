"""SMORE: Zhao et al., "A deep learning based anti-aliasing self super-resolution algorithm for MRI", MICCAI 2018.

An EDSR that takes aliasing away, then one that super-resolves; supervised and in-plane, as the suite's card states it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .edsr import Network
from .training import Build, Images, fft2c, ifft2c


class SMORE(Build):
    """The second network sees the first one's output, without its gradient; both losses are added."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        size = (settings["width"], settings["blocks"], settings["residual_factor"])
        self.anti_aliasing = Network(1, *size)
        self.super_resolution = Network(scale, *size)

    def output(self, images: Images) -> tuple[Tensor, Tensor]:
        clean = self.anti_aliasing(images.target_magnitude(images.target_lr))
        return self.super_resolution(clean.detach()), clean

    def loss(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        samples = fft2c(images.target_lr)
        rows, columns = (window(n, self.settings["taper"]).to(samples.device) for n in samples.shape[-2:])
        clean = ifft2c(samples * rows[:, None] * columns[None, :])
        return F.l1_loss(output[0], images.target_magnitude(images.target)) + F.l1_loss(
            output[1], images.target_magnitude(clean)
        )

    def image(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        return images.physical(output[0])


def window(n: int, taper: float) -> Tensor:
    """1, and over the outer part ``taper`` of n samples a cosine down to 0."""
    distance = torch.abs(torch.arange(n) - n // 2) / (n / 2)
    edge = torch.clamp((distance - (1 - taper)) / taper, 0, 1)
    return 0.5 * (1 + torch.cos(math.pi * edge))
