"""MINet (Feng et al., MICCAI 2021): two branches at HR size, fused at every stage, all stages integrated at the end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from mcsr_bench.nn import channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings, Update

from .network import MINetNetwork


class MINetSettings(TrainingSettings):
    """The network and its loss; where paper and released code disagree, both can be asked for."""

    width: Annotated[int, Field(ge=1)]
    """Feature channels."""
    groups: Annotated[int, Field(ge=1)]
    """Residual groups per branch, L."""
    blocks: Annotated[int, Field(ge=1)]
    """Residual channel attention blocks per group."""
    integration: Literal["released", "paper"]
    """Form of the integration over stages (M_Int)."""
    attention: Literal["released", "paper"]
    """Form of the channel and spatial attention (M_Att): with a learned gate that starts at 0, or without."""
    mean_energies: bool
    """Divide the energies of the integration by the number of feature values, so that its softmax is not one-hot."""
    alpha: Annotated[float, Field(ge=0, le=1)]
    """Weight of the contrast `alpha_side` in the loss; the other contrast has 1 - alpha."""
    alpha_side: Literal["target", "auxiliary"]


class MINet(TorchMethod):
    """MINet: super-resolves the target and reproduces the auxiliary, which only the loss looks at."""

    Settings = MINetSettings
    network: MINetNetwork

    def build_network(self) -> MINetNetwork:
        """The network of the settings."""
        return channels_last(
            MINetNetwork(
                self.scale, **self.settings.model_dump(exclude={*TrainingSettings.model_fields, "alpha", "alpha_side"})
            )
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised target and auxiliary, (B, H, W) each."""
        target, auxiliary = self.network(batch.auxiliary_magnitude[:, None], batch.target_lr_magnitude[:, None])
        return target[:, 0], auxiliary[:, 0]

    def loss(self, output: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """alpha * l(target) + (1 - alpha) * l(auxiliary), or the other way round (Eq. 9 of the SANet paper)."""
        alpha = self.settings.alpha if self.settings.alpha_side == "target" else 1 - self.settings.alpha
        target = self.pixel_loss(output[0], batch.target_magnitude)
        return alpha * target + (1 - alpha) * self.pixel_loss(output[1], batch.auxiliary_magnitude)

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One update; logs the gates that start at 0 beside the loss."""
        return super().training_step(batch, update) | self.network.readout.gammas()
