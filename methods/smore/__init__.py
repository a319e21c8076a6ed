"""SMORE (Zhao et al., MICCAI 2018; IEEE TMI 2021): an anti-aliasing network, then a super-resolution network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mcsr_bench.nn import EDSRNetwork, channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Run, TorchMethod, TrainingData, TrainingSettings

from .anti_aliasing import CleanBatch, CleanData, anti_aliased


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
    """The second network is fed the first one's output without its gradient: each network learns from its own loss alone."""


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
    """SMORE as the SANet paper compares it: trained with supervision on other patients, not on the test volume itself.

    The second network is fed the first one's output, in training and in prediction. In training that output is detached unless
    the setting ``detach`` is false (then the super-resolution loss trains both networks).
    """

    Settings = SMORESettings
    network: SMORENetwork

    def build_network(self) -> SMORENetwork:
        """The two networks of the settings' size."""
        s = self.settings
        return channels_last(
            SMORENetwork(self.scale, width=s.width, blocks=s.blocks, residual_factor=s.residual_factor, detach=s.detach)
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised SR magnitude (B, H, W) and cleaned LR magnitude (B, h, w)."""
        high, clean = self.network(batch.target_lr_magnitude[:, None])
        return high[:, 0], clean[:, 0]

    def loss(self, output: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """The losses of both networks, 1:1. A batch that does not bring the anti-aliasing target is taken for whole slices."""
        clean = batch.clean if isinstance(batch, CleanBatch) else anti_aliased(batch.target_lr, self.settings.taper)
        reference = batch.protocol.normalize(clean.abs(), *batch.target_statistics)
        return self.pixel_loss(output[0], batch.target_magnitude) + self.pixel_loss(output[1], reference)

    def train(self, data: TrainingData, run: Run) -> None:
        """The engine's loop, over batches that bring the anti-aliasing target."""
        run.fit(self, CleanData(data, self.settings.taper, run.seed))
