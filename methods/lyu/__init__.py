"""Lyu et al. (IEEE TMI 2020): a progressive network, a level per doubling, with adversarial, perceptual and texture losses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mcsr_bench import kspace
from mcsr_bench.nn import channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings, Update, make_optimizer

from .losses import VGGFeatures, gradient_penalty, gram
from .network import Critic, LyuNetwork


class LyuSettings(TrainingSettings):
    """The generator and the composite loss."""

    width: Annotated[int, Field(ge=1)]
    """Feature channels of the generator."""
    encoder_blocks: Annotated[int, Field(ge=0)]
    """Residual blocks of each encoder."""
    decoder_blocks: Annotated[int, Field(ge=0)]
    """Residual blocks of each decoder."""
    pixel_only: bool
    """The pixel loss alone: no critic, no perceptual or texture term."""
    adversarial_weight: Annotated[float, Field(ge=0)]
    """lambda_1, of the WGAN term."""
    perceptual_weight: Annotated[float, Field(ge=0)]
    """lambda_2, of the squared difference of VGG features; without vgg_weights the term is left out."""
    texture_weight: Annotated[float, Field(ge=0)]
    """lambda_3, of the squared difference of Gram matrices of the same features."""
    penalty_weight: Annotated[float, Field(ge=0)]
    """Of the gradient penalty in the critic's loss."""
    critic_width: Annotated[int, Field(ge=1)]
    vgg_weights: str = ""
    """A file with the weights of VGG-16; empty: no perceptual and no texture term."""


class Lyu(TorchMethod):
    """The generator predicts; its critics, one per level, only train."""

    Settings = LyuSettings
    network: LyuNetwork

    def __init__(self, card: object, scale: int, settings: LyuSettings) -> None:
        super().__init__(card, scale, settings)  # type: ignore[arg-type]
        self.critics: nn.ModuleList | None = None
        self.vgg: VGGFeatures | None = None
        if not settings.pixel_only:
            self.critics = nn.ModuleList(Critic(settings.critic_width) for _ in self.network.levels)
            if settings.vgg_weights:
                self.vgg = VGGFeatures.load(Path(settings.vgg_weights))

    def build_network(self) -> LyuNetwork:
        """The generator of the settings."""
        s = self.settings
        return channels_last(
            LyuNetwork(self.scale, width=s.width, encoder_blocks=s.encoder_blocks, decoder_blocks=s.decoder_blocks)
        )

    def notes(self) -> list[str]:
        """Which of the published loss's terms are off."""
        if self.settings.pixel_only:
            return ["trained with the pixel loss alone (pixel_only): no adversarial, perceptual or texture term."]
        if self.vgg is None:
            return ["no vgg_weights were given: trained without the perceptual and the texture term."]
        return []

    def forward(self, batch: Batch) -> list[Tensor]:
        """Normalised SR magnitude of every level, (B, 2h, 2w) up to (B, H, W)."""
        references = [
            batch.protocol.normalize(image.abs(), *batch.auxiliary_statistics)[:, None]
            for image in self._pyramid(batch.auxiliary)
        ]
        return [image[:, 0] for image in self.network(batch.target_lr_magnitude[:, None], references)]

    def prediction(self, output: list[Tensor], batch: Batch) -> Tensor:
        """The last level's magnitude in physical units."""
        return batch.denormalize_target(output[-1])

    def targets(self, batch: Batch) -> list[Tensor]:
        """What each level learns, normalised (B, 2h, 2w) up to (B, H, W): the target truncated to the level's size."""
        assert batch.target is not None
        return [
            batch.protocol.normalize(image.abs(), *batch.target_statistics) for image in self._pyramid(batch.target)
        ]

    def loss(self, output: list[Tensor], batch: Batch) -> Tensor:
        """The generator's: over levels, pixel + lambda_1 adversarial + lambda_2 perceptual + lambda_3 texture."""
        total = torch.zeros((), device=output[0].device)
        for level, (image, target) in enumerate(zip(output, self.targets(batch), strict=True)):
            total = total + self.pixel_loss(image, target)
            if self.critics is not None:
                total = total - self.settings.adversarial_weight * self.critics[level](image[:, None]).mean()
            if self.vgg is not None:
                ours, theirs = self.vgg(image[:, None]), self.vgg(target[:, None])
                total = total + self.settings.perceptual_weight * (ours - theirs).square().mean()
                total = total + self.settings.texture_weight * (gram(ours) - gram(theirs)).square().mean()
        return total

    def critic_loss(self, output: list[Tensor], batch: Batch) -> Tensor:
        """The critics': over levels, fake - real + penalty_weight * gradient penalty (WGAN-GP)."""
        assert self.critics is not None
        total = torch.zeros((), device=output[0].device)
        for critic, image, target in zip(self.critics, output, self.targets(batch), strict=True):
            fake, real = image.detach()[:, None], target[:, None]
            penalty = self.settings.penalty_weight * gradient_penalty(critic, real, fake)
            total = total + critic(fake).mean() - critic(real).mean() + penalty
        return total

    def training_modules(self) -> dict[str, nn.Module]:
        """The generator; and the critics where there are any."""
        return super().training_modules() | ({} if self.critics is None else {"critic": self.critics})

    def to(self, device: torch.device | str) -> Lyu:
        """Move the fixed VGG network too."""
        if self.vgg is not None:
            self.vgg.to(device)
        return super().to(device)

    def configure_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The same kind for generator and critics."""
        return {name: make_optimizer(self.settings, module) for name, module in self.training_modules().items()}

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One update of the generator; before it, one of the critics where there are any."""
        if self.critics is None:
            return super().training_step(batch, update)
        output = self.forward(batch)
        critic_loss = self.critic_loss(output, batch)
        update("critic", critic_loss)
        loss = self.loss(output, batch)
        update("network", loss)
        return {"loss": loss.detach(), "critic_loss": critic_loss.detach()}

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """An HR image (B, H, W), complex, truncated to the size of every level; the image itself last."""
        H, W = image.shape[-2:]
        factors = [self.scale >> level for level in range(1, len(self.network.levels))]
        return [*(kspace.truncate(image, (H // f, W // f)) for f in factors), image]
