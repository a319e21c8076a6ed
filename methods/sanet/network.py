"""The network of SANet: MINet's two branches, fused by separable attention that the auxiliary contrast steers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mcsr_bench.nn import ResidualGroup, conv, sub_pixel_upsampler
from mcsr_bench.nn.two_branch import ConcatFusion, ContrastReadout, Form

Norm = Literal["batch", "none"]


@dataclass(frozen=True)
class Selection:
    """What separable attention selects at one stage; all (B, ., H, W)."""

    high_prior: Tensor
    """Attention to high-intensity regions, 0..1; its complement 1 - high_prior attends to the rest. 1 or width/2 channels."""
    high: Tensor
    """Features selected by the high-intensity prior (HP branch), width/2 channels."""
    low: Tensor
    """Features selected by its complement (LS branch), width/2 channels."""


class SeparableAttention(nn.Module):
    """S of SANet (Eq. 10-14): the fused feature is seen through a prior and through its complement, then both are joined."""

    def __init__(self, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        half = width // 2
        self.reduce = conv(2 * width, half, 1)
        self.high = _conv_norm_relu(half, half, norm)
        self.low = _conv_norm_relu(half, half, norm)
        self.join = nn.Sequential(_conv_norm_relu(2 * half, half, norm), conv(half, width, 1))

    def select(self, auxiliary: Tensor, target: Tensor, logits: Tensor) -> Selection:
        """Two features (B, width, H, W) and the prior's logits (B, 1 or width/2, H, W) to the two selected features."""
        fused = self.reduce(torch.cat((auxiliary, target), 1))
        prior = logits.sigmoid()
        return Selection(prior, self.high(fused * prior), self.low(fused * (1 - prior)))

    def merge(self, selection: Selection) -> Tensor:
        """The two selected features to the residual of the target feature (B, width, H, W)."""
        return self.join(torch.cat((selection.high, selection.low), 1))

    def forward(self, auxiliary: Tensor, target: Tensor, logits: Tensor) -> Tensor:
        """`merge` of `select`."""
        return self.merge(self.select(auxiliary, target, logits))


class SeparableFusion(nn.Module):
    """target + S(auxiliary, target, prior), the prior's logits from the auxiliary feature alone.

    attention_map: ``learned`` gives one logit per pixel by conv3x3 (released code); ``auxiliary`` takes the auxiliary feature
    itself (Eq. 10), brought by conv1x1 to the width/2 channels of the fused feature that it multiplies.
    """

    def __init__(self, width: int, attention_map: Literal["learned", "auxiliary"] = "learned", norm: Norm = "batch"):
        super().__init__()
        self.prior = conv(width, 1) if attention_map == "learned" else conv(width, width // 2, 1)
        self.attention = SeparableAttention(width, norm)

    def select(self, auxiliary: Tensor, target: Tensor) -> Selection:
        """What the two attention branches select, for figures."""
        return self.attention.select(auxiliary, target, self.prior(auxiliary))

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Two (B, width, H, W) to the fused target feature (B, width, H, W)."""
        return target + self.attention(auxiliary, target, self.prior(auxiliary))


class SANetNetwork(nn.Module):
    """SANet: Feng et al., "Exploring Separable Attention for Multi-Contrast MR Image Super-Resolution", arXiv 2109.01664.

    The defaults are the modules and order of the released code with one separable attention per residual group (L = groups), which
    is what the paper describes; the switches give the paper's equations where they differ, and the ablations of its Table III.
    """

    def __init__(
        self,
        scale: int,
        *,
        width: int = 64,
        groups: int = 6,
        blocks: int = 6,
        auxiliary: bool = True,
        separable: bool = True,
        integration: Form = "released",
        attention: Form = "released",
        attention_map: Literal["learned", "auxiliary"] = "learned",
        norm: Norm = "batch",
        fusion_order: Literal["after", "before"] = "after",
        joint: bool = False,
        mean_energies: bool = False,
    ) -> None:
        """auxiliary: False builds the target branch alone (then nothing is fused). separable: False fuses as MINet does.

        fusion_order: the contrasts are fused after a residual group (released code) or before it (Eq. 4). joint: the auxiliary is
        given at LR size too, and up-sampled first like the target.
        """
        super().__init__()
        self.fusion_order = fusion_order
        self.target_head = conv(1, width)
        self.target_up = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, width))
        self.target_groups = nn.ModuleList(ResidualGroup(width, blocks) for _ in range(groups))
        self.auxiliary_head = conv(1, width) if auxiliary else None
        self.auxiliary_up = (
            nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, width)) if joint else nn.Identity()
        )
        if auxiliary:
            self.auxiliary_groups = nn.ModuleList(ResidualGroup(width, blocks) for _ in range(groups))
            self.fusions = nn.ModuleList(
                SeparableFusion(width, attention_map, norm) if separable else ConcatFusion(width) for _ in range(groups)
            )
        self.readout = ContrastReadout(
            width,
            (1 + auxiliary) * groups,
            auxiliary=auxiliary,
            integration=integration,
            attention=attention,
            mean_energies=mean_energies,
        )

    def forward(self, auxiliary: Tensor, target_lr: Tensor) -> tuple[Tensor, Tensor | None]:
        """auxiliary (B, 1, s*h, s*w) and target_lr (B, 1, h, w) to (target, auxiliary), each (B, 1, s*h, s*w).

        In joint super-resolution the auxiliary is (B, 1, h, w) too.

        Without an auxiliary branch the second output is None and the auxiliary image is not looked at.
        """
        first_t = last_t = self.target_up(self.target_head(target_lr))
        maps_a: list[Tensor] = []
        maps_t: list[Tensor] = []
        if self.auxiliary_head is None:
            for group in self.target_groups:
                last_t = group(last_t)
                maps_t.append(last_t)
            return self.readout.target(first_t, last_t, maps_t), None
        first_a = self.auxiliary_up(self.auxiliary_head(auxiliary))
        for stage in self._stages(first_a, first_t):
            maps_a.append(stage.auxiliary)
            maps_t.append(stage.target)
            last_t = stage.next_target
        return self.readout.target(first_t, last_t, maps_a + maps_t), self.readout.auxiliary(first_a, maps_a[-1])

    def selections(self, auxiliary: Tensor, target_lr: Tensor) -> list[Selection]:
        """What separable attention selects at each stage, for figures; empty where another fusion, or none, is built."""
        if self.auxiliary_head is None:
            return []
        first_a = self.auxiliary_up(self.auxiliary_head(auxiliary))
        stages = self._stages(first_a, self.target_up(self.target_head(target_lr)))
        pairs = zip(self.fusions, stages, strict=True)
        return [fusion.select(*stage.fused) for fusion, stage in pairs if isinstance(fusion, SeparableFusion)]

    def _stages(self, a: Tensor, t: Tensor) -> Iterator[_Stage]:
        for group_a, group_t, fuse in zip(self.auxiliary_groups, self.target_groups, self.fusions, strict=True):
            if self.fusion_order == "before":
                fused = (a, t)
                a, t = group_a(a), group_t(fuse(a, t))
                yield _Stage(a, t, t, fused)
            else:
                a, stored = group_a(a), group_t(t)
                t = fuse(a, stored)
                yield _Stage(a, stored, t, (a, stored))


@dataclass(frozen=True)
class _Stage:
    auxiliary: Tensor
    """A_l."""
    target: Tensor
    """What the integration over stages gets of the target branch: the residual group's output."""
    next_target: Tensor
    """What the next stage gets."""
    fused: tuple[Tensor, Tensor]
    """The auxiliary and target feature that the fusion of this stage was given."""


def _conv_norm_relu(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = [conv(in_channels, out_channels)]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers, nn.ReLU())
