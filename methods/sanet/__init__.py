"""SANet (Feng et al., arXiv 2109.01664): two branches, fused by attention to the auxiliary's high and low intensities."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from mcsr_bench.nn import channels_last
from mcsr_bench.plugin.batch import Batch, Prediction
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings, Update

from .network import SANetNetwork


class SANetSettings(TrainingSettings):
    """The network and its loss; where paper and released code disagree, both can be asked for."""

    width: Annotated[int, Field(ge=2)]
    """Feature channels; separable attention works on half of them."""
    groups: Annotated[int, Field(ge=1)]
    """Residual groups per branch, L, each followed by a fusion of the branches."""
    blocks: Annotated[int, Field(ge=1)]
    """Residual channel attention blocks per group."""
    auxiliary: bool
    """The auxiliary branch (F_Aux); without it nothing is fused and the loss is that of the target."""
    separable: bool
    """Fuse by separable attention (S); else by MINet's concatenation."""
    integration: Literal["released", "paper", "none"]
    """Form of the integration over stages (M_Int)."""
    attention: Literal["released", "paper", "none"]
    """Form of the channel and spatial attention (M_Att): with a learned gate that starts at 0, without the gate, or none."""
    attention_map: Literal["learned", "auxiliary"]
    """The prior of S: a learned one-channel map of the auxiliary feature, or that feature itself (Eq. 10)."""
    norm: Literal["batch", "none"]
    """Normalisation inside S."""
    fusion_order: Literal["after", "before"]
    """Fuse after each residual group, or before it (Eq. 4)."""
    joint: bool
    """Joint super-resolution: the auxiliary branch starts from the LR auxiliary, with an up-sampler of its own; both are scored."""
    mean_energies: bool
    """Divide the energies of the integration by the number of feature values, so that its softmax is not one-hot."""
    alpha: Annotated[float, Field(ge=0, le=1)]
    """Weight of the contrast `alpha_side` in the loss; the other contrast has 1 - alpha."""
    alpha_side: Literal["target", "auxiliary"]


class SANet(TorchMethod):
    """SANet: super-resolves the target and reproduces the auxiliary, which only the loss looks at."""

    Settings = SANetSettings
    network: SANetNetwork

    def build_network(self) -> SANetNetwork:
        """The network of the settings."""
        return channels_last(
            SANetNetwork(
                self.scale, **self.settings.model_dump(exclude={*TrainingSettings.model_fields, "alpha", "alpha_side"})
            )
        )

    @property
    def joint(self) -> bool:
        """As set."""
        return bool(self.settings.joint)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Normalised target and auxiliary, (B, H, W) each; no auxiliary without its branch."""
        target, auxiliary = self.network(*_inputs(batch))
        return target[:, 0], None if auxiliary is None else auxiliary[:, 0]

    def loss(self, output: tuple[Tensor, Tensor | None], batch: Batch) -> Tensor:
        """alpha * l(target) + (1 - alpha) * l(auxiliary) (Eq. 9), or the other way round; l(target) without auxiliary branch."""
        target = self.pixel_loss(output[0], batch.target_magnitude)
        if output[1] is None:
            return target
        alpha = self.settings.alpha if self.settings.alpha_side == "target" else 1 - self.settings.alpha
        return alpha * target + (1 - alpha) * self.pixel_loss(output[1], batch.auxiliary_magnitude)

    def prediction(self, output: tuple[Tensor, Tensor | None], batch: Batch) -> Prediction:
        """The target in physical units; in joint super-resolution both contrasts."""
        target = batch.denormalize_target(output[0])
        if not self.joint or output[1] is None:
            return target
        return {"target": target, "auxiliary": batch.denormalize_auxiliary(output[1])}

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One update; logs the gates that start at 0 beside the loss."""
        return super().training_step(batch, update) | self.network.readout.gammas()

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """Per stage l, "prior_high_l" and "prior_low_l" (0..1) and the features "high_l" and "low_l" they select: (B, C, H, W)."""
        self.network.eval()
        with torch.no_grad():
            selections = self.network.selections(*_inputs(batch))
        found: dict[str, Tensor] = {}
        for stage, selection in enumerate(selections, 1):
            found[f"prior_high_{stage}"] = selection.high_prior
            found[f"prior_low_{stage}"] = 1 - selection.high_prior
            found[f"high_{stage}"] = selection.high
            found[f"low_{stage}"] = selection.low
        return found


def _inputs(batch: Batch) -> tuple[Tensor, Tensor]:
    auxiliary = batch.auxiliary_lr_magnitude if batch.joint else batch.auxiliary_magnitude
    return auxiliary[:, None], batch.target_lr_magnitude[:, None]
