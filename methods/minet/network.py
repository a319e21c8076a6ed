"""The network of MINet: two branches of residual groups at HR size, fused stage by stage, then all stages integrated."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mcsr_bench.nn import ResidualGroup, conv, sub_pixel_upsampler
from mcsr_bench.nn.two_branch import ConcatFusion, ContrastReadout


class MINetNetwork(nn.Module):
    """MINet: Feng et al., MICCAI 2021; stages are the residual groups and one trailing convolution, per branch."""

    def __init__(
        self,
        scale: int,
        *,
        width: int = 64,
        groups: int = 6,
        blocks: int = 6,
        integration: Literal["released", "paper"] = "released",
        attention: Literal["released", "paper"] = "released",
        mean_energies: bool = False,
    ) -> None:
        super().__init__()
        self.auxiliary_head = conv(1, width)
        self.target_head = conv(1, width)
        self.target_up = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, width))
        self.auxiliary_stages = _stages(width, groups, blocks)
        self.target_stages = _stages(width, groups, blocks)
        self.fusions = nn.ModuleList(ConcatFusion(width) for _ in range(groups + 1))
        self.readout = ContrastReadout(
            width, 2 * (groups + 1), integration=integration, attention=attention, mean_energies=mean_energies
        )

    def forward(self, auxiliary: Tensor, target_lr: Tensor) -> tuple[Tensor, Tensor]:
        """auxiliary (B, 1, s*h, s*w) and target_lr (B, 1, h, w) to (target, auxiliary), each (B, 1, s*h, s*w)."""
        a = first_a = self.auxiliary_head(auxiliary)
        t = first_t = self.target_up(self.target_head(target_lr))
        maps_a, maps_t = [], []
        for stage_a, stage_t, fuse in zip(self.auxiliary_stages, self.target_stages, self.fusions, strict=True):
            a, t = stage_a(a), stage_t(t)
            maps_a.append(a)
            maps_t.append(t)  # before the fusion, which feeds the next stage
            t = fuse(a, t)
        return self.readout.target(first_t, t, maps_a + maps_t), self.readout.auxiliary(first_a, a)


def _stages(width: int, groups: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList([*(ResidualGroup(width, blocks) for _ in range(groups)), conv(width, width)])
