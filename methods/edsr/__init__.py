"""EDSR (Lim et al., CVPR Workshops 2017): single-contrast, residual blocks at LR size, sub-pixel up-sampling last."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mcsr_bench.nn import EDSRNetwork, channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings


class EDSRSettings(TrainingSettings):
    """The size of the network; the rest is training."""

    width: Annotated[int, Field(ge=1)]
    """Feature channels."""
    blocks: Annotated[int, Field(ge=1)]
    """Residual blocks."""
    residual_factor: Annotated[float, Field(gt=0)]
    """What the residual of each block is multiplied by."""
    shifted_input: bool
    """The first convolution adds constants to its input, for imported weights of a network that does."""


class EDSR(TorchMethod):
    """EDSR on the target contrast alone."""

    Settings = EDSRSettings

    def build_network(self) -> EDSRNetwork:
        """The network of the settings' size."""
        s = self.settings
        return channels_last(
            EDSRNetwork(
                self.scale,
                width=s.width,
                blocks=s.blocks,
                residual_factor=s.residual_factor,
                shifted_input=s.shifted_input,
            )
        )

    def forward(self, batch: Batch) -> Tensor:
        """Normalised SR magnitude (B, H, W)."""
        return self.network(batch.target_lr_magnitude[:, None])[:, 0]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Pixel loss on the normalised target."""
        return self.pixel_loss(output, batch.target_magnitude)
