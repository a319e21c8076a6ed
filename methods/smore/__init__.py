"""SMORE (Zhao et al., MICCAI 2018; IEEE TMI 2021): an anti-aliasing network, then a super-resolution network."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mcsr_bench import kspace
from mcsr_bench.method import Batch, TorchMethod, TrainingSettings
from mcsr_bench.nn import EDSRNetwork


class SMORESettings(TrainingSettings):
    """The size of both networks and how they are joined."""

    width: Annotated[int, Field(ge=1)]
    """Feature channels."""
    blocks: Annotated[int, Field(ge=1)]
    """Residual blocks of each network."""
    residual_factor: Annotated[float, Field(gt=0)]
    """What the residual of each block is multiplied by."""
    taper: Annotated[float, Field(gt=0, le=1)]
    """Part of the LR band, at its edge, over which the anti-aliasing target falls to zero as a cosine."""
    detach: bool
    """The super-resolution loss trains the second network alone; else the first one too."""


class SMORENetwork(nn.Module):
    """Anti-aliasing at LR size, then super-resolution of its output: two EDSR networks."""

    def __init__(self, scale: int, *, width: int, blocks: int, residual_factor: float, detach: bool) -> None:
        super().__init__()
        self.anti_aliasing = EDSRNetwork(1, width=width, blocks=blocks, residual_factor=residual_factor)
        self.super_resolution = EDSRNetwork(scale, width=width, blocks=blocks, residual_factor=residual_factor)
        self.detach = detach

    def forward(self, target_lr: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, h, w) to SR (B, 1, s*h, s*w) and the cleaned LR image (B, 1, h, w)."""
        clean = self.anti_aliasing(target_lr)
        return self.super_resolution(clean.detach() if self.detach else clean), clean


class SMORE(TorchMethod):
    """SMORE trained with supervision on the benchmark's training patients; the second network is fed the first one's output."""

    Settings = SMORESettings

    def build_network(self) -> SMORENetwork:
        """The two networks of the settings' size."""
        s = self.settings
        return SMORENetwork(
            self.scale, width=s.width, blocks=s.blocks, residual_factor=s.residual_factor, detach=s.detach
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised SR magnitude (B, H, W) and cleaned LR magnitude (B, h, w)."""
        high, clean = self.network(batch.target_lr_magnitude[:, None])
        return high[:, 0], clean[:, 0]

    def loss(self, output: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """The losses of both networks, 1:1."""
        tapered = anti_aliased(batch.target_lr, self.settings.taper).abs()
        reference = batch.protocol.normalize(tapered, *batch.target_statistics)
        return self.pixel_loss(output[0], batch.target_magnitude) + self.pixel_loss(output[1], reference)


def anti_aliased(target_lr: Tensor, taper: float) -> Tensor:
    """The LR image as a smooth low-pass, rather than a truncation, would have left it: less ringing. Complex (B, h, w).

    Truncation and a smooth window within the LR band, in either order, give the same, so the HR image is not needed.
    """
    windows = [tukey(n, taper).to(target_lr.device) for n in target_lr.shape[-2:]]
    return kspace.to_image(kspace.to_kspace(target_lr) * windows[0][:, None] * windows[1][None, :])


def tukey(n: int, taper: float) -> Tensor:
    """1 in the middle of n k-space samples, cosine-shaped down to 0 at n / 2 from it; (n,), float32."""
    distance = (torch.arange(n, dtype=torch.float64) - n // 2).abs() / (n / 2)
    edge = ((distance - (1 - taper)) / taper).clamp(0, 1)
    return (0.5 * (1 + torch.cos(torch.pi * edge))).float()
