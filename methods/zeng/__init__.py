"""Zeng et al. (2018): one network for single-contrast and, with the auxiliary as reference, multi-contrast super-resolution."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mcsr_bench.nn import channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings

from .network import ZengNetwork


class ZengSettings(TrainingSettings):
    """The network and the weight of its first output."""

    width: Annotated[int, Field(ge=1)]
    """Feature channels."""
    blocks: Annotated[int, Field(ge=1)]
    """Residual blocks of the body."""
    residual_factor: Annotated[float, Field(gt=0)]
    """What the residual of each block is multiplied by."""
    share_body: bool
    """Both stages use one body; else each its own."""
    stage1_weight: Annotated[float, Field(ge=0)]
    """Weight of the single-contrast output in the loss; the multi-contrast one has 1."""


class Zeng(TorchMethod):
    """Two outputs, both in the loss; the multi-contrast one is the prediction.

    The second stage is fed the first one's image as it is, not detached: the multi-contrast loss trains both stages.
    """

    Settings = ZengSettings
    network: ZengNetwork

    def build_network(self) -> ZengNetwork:
        """The network of the settings."""
        s = self.settings
        return channels_last(
            ZengNetwork(
                self.scale, width=s.width, blocks=s.blocks, residual_factor=s.residual_factor, share_body=s.share_body
            )
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised multi-contrast and single-contrast SR magnitude, (B, H, W) each."""
        multi, single = self.network(batch.target_lr_magnitude[:, None], batch.auxiliary_magnitude[:, None])
        return multi[:, 0], single[:, 0]

    def loss(self, output: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """l(multi) + stage1_weight * l(single)."""
        target = batch.target_magnitude
        return self.pixel_loss(output[0], target) + self.settings.stage1_weight * self.pixel_loss(output[1], target)

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """ "single_contrast": the first stage's image, made without the auxiliary; (B, H, W), in physical units."""
        self.network.eval()
        with torch.no_grad():
            return {"single_contrast": batch.denormalize_target(self.forward(batch)[1])}
