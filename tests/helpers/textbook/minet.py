"""MINet: Feng et al., "Multi-Contrast MRI Super-Resolution via a Multi-Stage Integration Network", MICCAI 2021, section 2.

Residual groups of channel attention blocks: RCAN, Zhang et al., ECCV 2018, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edsr import Upsampler
from .training import Build, Images


class ChannelAttention(nn.Module):
    """RCAN: global average, squeeze by 16 (never below 4 channels), excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(4, width // 16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(width, hidden, 1)
        self.excite = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(self.pool(x)))))
        return x * weights


class RCAB(nn.Module):
    """Residual channel attention block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.attention = ChannelAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(self.relu(self.conv1(x))))


class ResidualGroup(nn.Module):
    """Blocks, a convolution, a skip."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[RCAB(width) for _ in range(blocks)])
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x))


class TargetHead(nn.Module):
    """First convolution, then to HR size by sub-pixel steps and one more convolution."""

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.upsampler = Upsampler(width, scale)
        self.after = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.upsampler(self.conv(x)))


class LayerAttention(nn.Module):
    """M_Int: the maps of all stages weigh each other; the learned gate starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C, H, W) to (B, N * C, H, W)."""
        B, N, C, H, W = x.shape
        query = x.view(B, N, -1)
        energy = torch.bmm(query, query.permute(0, 2, 1))
        energy = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        attention = torch.softmax(energy, dim=-1).to(x.dtype)
        out = torch.bmm(attention, query).view(B, N, C, H, W)
        return (self.gamma * out + x).view(B, N * C, H, W)


class ChannelSpatialAttention(nn.Module):
    """M_Att: a 3-D convolution over channels and pixels makes a gate; its weight starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.conv = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv(x.unsqueeze(1))).squeeze(1)
        return x + x * (self.gamma * gate)


class Readout(nn.Module):
    """From the stage maps to the images of both contrasts."""

    def __init__(self, width: int, maps: int) -> None:
        super().__init__()
        self.layer_attention = LayerAttention()
        self.last_conv = nn.Conv2d(maps * width, width, 3, padding=1)
        self.target_attention = ChannelSpatialAttention()
        self.target_last = nn.Conv2d(2 * width, width, 3, padding=1)
        self.target_final = nn.Conv2d(width, 1, 3, padding=1)
        self.auxiliary_attention = ChannelSpatialAttention()
        self.auxiliary_last = nn.Conv2d(width, width, 3, padding=1)
        self.auxiliary_final = nn.Conv2d(width, 1, 3, padding=1)

    def forward(
        self, first: tuple[Tensor, Tensor], last: tuple[Tensor, Tensor], maps: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """first, last: target and auxiliary features before and after all stages."""
        integrated = self.last_conv(self.layer_attention(torch.stack(maps, dim=1)))
        feature = torch.cat([self.target_attention(last[0]), integrated], dim=1)
        target = self.target_final(self.target_last(feature) + first[0])
        auxiliary = self.auxiliary_final(self.auxiliary_last(self.auxiliary_attention(last[1])) + first[1])
        return target, auxiliary


class Network(nn.Module):
    """Two branches; a stage is a residual group, the last one a convolution; the target's is fused with the auxiliary's."""

    def __init__(self, scale: int, width: int, groups: int, blocks: int) -> None:
        super().__init__()

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                [ResidualGroup(width, blocks) for _ in range(groups)] + [nn.Conv2d(width, width, 3, padding=1)]
            )

        self.auxiliary_head = nn.Conv2d(1, width, 3, padding=1)
        self.target_head = TargetHead(width, scale)
        self.auxiliary_stages = stages()
        self.target_stages = stages()
        self.fusions = nn.ModuleList([nn.Conv2d(2 * width, width, 1) for _ in range(groups + 1)])
        self.readout = Readout(width, 2 * (groups + 1))

    def forward(self, target_lr: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        first_a = a = self.auxiliary_head(auxiliary)
        first_t = t = self.target_head(target_lr)
        maps_a, maps_t = [], []
        for i in range(len(self.fusions)):
            a = self.auxiliary_stages[i](a)
            t = self.target_stages[i](t)
            maps_a.append(a)
            maps_t.append(t)
            t = t + self.fusions[i](torch.cat([a, t], dim=1))
        return self.readout((first_t, first_a), (t, a), maps_a + maps_t)


class MINet(Build):
    """Both contrasts are predicted, both are in the loss."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.network = self.make_network(scale, settings)

    def make_network(self, scale: int, settings: Mapping[str, Any]) -> nn.Module:
        return Network(scale, settings["width"], settings["groups"], settings["blocks"])

    def output(self, images: Images) -> tuple[Tensor, Tensor]:
        return self.network(images.target_magnitude(images.target_lr), images.auxiliary_magnitude(images.auxiliary))

    def loss(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        alpha = self.settings["alpha"]  # of the target: Eq. 9 of the SANet paper
        target = F.l1_loss(output[0], images.target_magnitude(images.target))
        return alpha * target + (1 - alpha) * F.l1_loss(output[1], images.auxiliary_magnitude(images.auxiliary))

    def image(self, output: tuple[Tensor, Tensor], images: Images) -> Tensor:
        return images.physical(output[0])
