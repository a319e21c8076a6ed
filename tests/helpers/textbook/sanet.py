"""SANet: Feng et al., "Exploring Separable Attention for Multi-Contrast MR Image Super-Resolution", arXiv 2109.01664, section III.

Where the paper leaves a module open, its form is the one that the suite's card states. Branches and readout are MINet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .minet import MINet, Readout, ResidualGroup, TargetHead


class ConvNormReLU(nn.Module):
    """A convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)))


class SeparableAttention(nn.Module):
    """S (Eq. 10-14): high-intensity priority and its complement, steered by a map of the auxiliary feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.map = nn.Conv2d(width, 1, 3, padding=1)
        self.fuse = nn.Conv2d(2 * width, half, 1)
        self.high = ConvNormReLU(half, half)
        self.low = ConvNormReLU(half, half)
        self.join = ConvNormReLU(2 * half, half)
        self.out = nn.Conv2d(half, width, 1)

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        fused = self.fuse(torch.cat([auxiliary, target], dim=1))
        attention = torch.sigmoid(self.map(auxiliary)).expand_as(fused)
        high = self.high(fused * attention)
        low = self.low(fused * (1 - attention))
        return self.out(self.join(torch.cat([high, low], dim=1)))


class Network(nn.Module):
    """Two branches of residual groups; after each group the target feature gets S of both."""

    def __init__(self, scale: int, width: int, groups: int, blocks: int) -> None:
        super().__init__()
        self.target_head = TargetHead(width, scale)
        self.target_groups = nn.ModuleList([ResidualGroup(width, blocks) for _ in range(groups)])
        self.auxiliary_head = nn.Conv2d(1, width, 3, padding=1)
        self.auxiliary_groups = nn.ModuleList([ResidualGroup(width, blocks) for _ in range(groups)])
        self.separable = nn.ModuleList([SeparableAttention(width) for _ in range(groups)])
        self.readout = Readout(width, 2 * groups)

    def forward(self, target_lr: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        first_a = a = self.auxiliary_head(auxiliary)
        first_t = t = self.target_head(target_lr)
        maps_a, maps_t = [], []
        for i in range(len(self.separable)):
            a = self.auxiliary_groups[i](a)
            t = self.target_groups[i](t)
            maps_a.append(a)
            maps_t.append(t)
            t = t + self.separable[i](a, t)
        return self.readout((first_t, first_a), (t, a), maps_a + maps_t)


class SANet(MINet):
    """As MINet, with the network above."""

    def make_network(self, scale: int, settings: Mapping[str, Any]) -> nn.Module:
        return Network(scale, settings["width"], settings["groups"], settings["blocks"])
