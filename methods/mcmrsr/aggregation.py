"""Aggregation of McMRSR: matched auxiliary features are brought to the target's style and merged, from the LR size upwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import instance_norm, interpolate

from mcsr_bench.nn import ResidualBlock, conv

BLOCKS = {1: 12, 2: 8, 4: 4}
"""Residual blocks after merging at 1, 2 and 4 times the LR size."""


class SpatialAdaptation(nn.Module):
    """SAB: the reference, normalised per channel, gets mean and spread from the target, corrected pixel by pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.style = nn.Sequential(conv(2 * width, width), nn.ReLU())
        self.gamma = conv(width, width)
        self.beta = conv(width, width)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        """Two (B, C, h, w) to the adapted reference."""
        style = self.style(torch.cat((target, reference), 1))
        mean = target.mean((2, 3), keepdim=True)
        # The standard deviation, by a sum of squares: torch.std goes through the image value by value.
        spread = vector_norm(target - mean, dim=(2, 3), keepdim=True) / (target.shape[-2] * target.shape[-1] - 1) ** 0.5
        return instance_norm(reference) * (self.gamma(style) + spread) + self.beta(style) + mean


class JointResidualAggregation(nn.Module):
    """JRFAB: what the reference has beyond the target goes to the one branch, what the target has beyond it to the other.

    ``up``: the target has half the reference's size, and is brought up by transposed convolutions; else both have one size.
    """

    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()

        def down() -> nn.Module:
            return nn.Conv2d(width, width, 3, stride=2, padding=1) if up else conv(width, width)

        def back() -> nn.Module:
            if up:
                return nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
            return conv(width, width)

        self.down_a, self.up_a = down(), back()
        self.down_b, self.up_b = down(), back()
        self.join = conv(2 * width, width)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        """target (B, C, h, w), reference (B, C, h, w) or twice the size, to the reference's size."""
        u = self.up_a(self.down_a(reference).relu() - target).relu() + reference
        v = self.up_b(2 * target - self.down_b(reference).relu()).relu()
        return self.join(torch.cat((u, v), 1)).relu()


class Aggregation(nn.Module):
    """MAB: from LR target features and matched features at 1, 2 (4) times that size to the image; weights shared over scales."""

    def __init__(self, width: int, channels: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.adapt = SpatialAdaptation(width)
        self.merge_same = JointResidualAggregation(width, up=False)
        self.merge = JointResidualAggregation(width, up=True)
        self.blocks = nn.ModuleDict(
            {
                f"x{factor}": nn.Sequential(*(ResidualBlock(width) for _ in range(n)))
                for factor, n in zip(BLOCKS, blocks, strict=True)
            }
        )
        self.out = conv(width, channels)

    def forward(self, target: Tensor, matched: Sequence[Tensor]) -> Tensor:
        """target (B, C, h, w); matched: (B, C, f*h, f*w) for f = 1, 2 (, 4); returns (B, channels, f*h, f*w) of the last f."""
        features = self.blocks["x1"](self.merge_same(target, self.adapt(target, matched[0])))
        for factor, reference in zip((2, 4), matched[1:], strict=False):
            larger = interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = self.blocks[f"x{factor}"](self.merge(features, self.adapt(larger, reference)))
        return self.out(features)
