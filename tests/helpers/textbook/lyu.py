"""Lyu et al., "Multi-Contrast Super-Resolution MRI Through a Progressive Network", IEEE TMI 39:2738-2749, 2020: two levels for 4x,
contrasts joined in feature space; layers as the suite's card states them. Critic: WGAN-GP, Gulrajani et al., NIPS 2017, section 4.

Without the terms on features of a VGG network, whose weights nobody has at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edsr import ResBlock, Upsampler
from .training import Build, Images, centre, fft2c, ifft2c


def encoder(width: int, blocks: int) -> nn.Sequential:
    """A convolution and residual blocks."""
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), *[ResBlock(width, 1.0) for _ in range(blocks)])


class Level(nn.Module):
    """One doubling."""

    def __init__(self, width: int, encoder_blocks: int, decoder_blocks: int) -> None:
        super().__init__()
        self.target_encoder = encoder(width, encoder_blocks)
        self.upsampler = Upsampler(width, 2)
        self.reference_encoder = encoder(width, encoder_blocks)
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)
        self.decoder = nn.Sequential(*[ResBlock(width, 1.0) for _ in range(decoder_blocks)])
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        features = torch.cat([self.upsampler(self.target_encoder(target)), self.reference_encoder(reference)], dim=1)
        return self.out(self.decoder(self.join(features)))


class Critic(nn.Module):
    """Six convolutions, every second one with stride 2, global average, two dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for i, factor in enumerate((1, 1, 2, 2, 4, 4)):
            layers.append(nn.Conv2d(channels, factor * width, 3, stride=1 if i % 2 == 0 else 2, padding=1))
            layers.append(nn.LeakyReLU(0.2))
            channels = factor * width
        self.convolutions = nn.Sequential(*layers)
        self.dense1 = nn.Linear(channels, 1024)
        self.dense2 = nn.Linear(1024, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.convolutions(image).mean(dim=(2, 3))
        return self.dense2(F.leaky_relu(self.dense1(features), 0.2)).squeeze(1)


class Lyu(Build):
    """The levels, and in training a critic for each, unless ``pixel_only``."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.scale = scale
        self.factors = [2 ** (k + 1) for k in range(scale.bit_length() - 1)]
        size = (settings["width"], settings["encoder_blocks"], settings["decoder_blocks"])
        self.levels = nn.ModuleList([Level(*size) for _ in self.factors])
        self.critics = nn.ModuleList(
            [] if settings["pixel_only"] else [Critic(settings["critic_width"]) for _ in self.factors]
        )

    def optimiser(self) -> None:
        self.optimizer = self.adam(self.levels)
        if len(self.critics):
            self.critic_optimizer = self.adam(self.critics)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """A complex HR image truncated to every level's size."""
        found = []
        for factor in self.factors:
            if factor == self.scale:
                found.append(image)
            else:
                h, w = (n * factor // self.scale for n in image.shape[-2:])
                found.append(ifft2c(centre(fft2c(image), h, w)) * (factor / self.scale))
        return found

    def output(self, images: Images) -> list[Tensor]:
        references = [images.auxiliary_magnitude(image) for image in self.pyramid(images.auxiliary)]
        x = images.target_magnitude(images.target_lr)
        found = []
        for level, reference in zip(self.levels, references, strict=True):
            x = level(x, reference)
            found.append(x)
        return found

    def targets(self, images: Images) -> list[Tensor]:
        """What each level learns."""
        return [images.target_magnitude(image) for image in self.pyramid(images.target)]

    def loss(self, output: list[Tensor], images: Images) -> Tensor:
        loss = torch.zeros((), device=output[0].device)
        for i, (image, target) in enumerate(zip(output, self.targets(images), strict=True)):
            loss = loss + F.mse_loss(image, target)
            if len(self.critics):
                loss = loss - self.settings["adversarial_weight"] * self.critics[i](image).mean()
        return loss

    def critic_loss(self, output: list[Tensor], images: Images) -> Tensor:
        """Wasserstein distance and gradient penalty, over levels."""
        loss = torch.zeros((), device=output[0].device)
        for critic, image, real in zip(self.critics, output, self.targets(images), strict=True):
            fake = image.detach()
            mix = torch.rand(real.shape[0], 1, 1, 1, device=real.device)
            between = (mix * real + (1 - mix) * fake).requires_grad_(True)
            score = critic(between)
            [gradient] = torch.autograd.grad(score, between, torch.ones_like(score), create_graph=True)
            penalty = ((gradient.reshape(len(gradient), -1).norm(2, dim=1) - 1) ** 2).mean()
            loss = loss + critic(fake).mean() - critic(real).mean() + self.settings["penalty_weight"] * penalty
        return loss

    def step(self, images: Images) -> Tensor:
        if not len(self.critics):
            return super().step(images)
        self.train()
        output = self.output(images)
        self.critic_optimizer.zero_grad()
        self.critic_loss(output, images).backward()
        self.critic_optimizer.step()
        self.optimizer.zero_grad()
        loss = self.loss(output, images)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def image(self, output: list[Tensor], images: Images) -> Tensor:
        return images.physical(output[-1])
