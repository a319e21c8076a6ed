"""What every textbook build has: a batch of images, their normalisation, a training step with torch's usual Adam, a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Images:
    """A batch of slices, complex, in physical units, with the mean and standard deviation of magnitudes of whole slices."""

    target_lr: Tensor
    """(B, h, w)."""
    auxiliary: Tensor
    """(B, H, W)."""
    auxiliary_lr: Tensor
    target: Tensor
    target_mean: Tensor
    """Of the LR target, (B,)."""
    target_std: Tensor
    auxiliary_mean: Tensor
    """Of the HR auxiliary, (B,)."""
    auxiliary_std: Tensor

    def target_magnitude(self, image: Tensor) -> Tensor:
        """A complex image of the target contrast as a network sees it: (B, 1, H, W)."""
        magnitude = torch.abs(image)
        return ((magnitude - self.target_mean[:, None, None]) / self.target_std[:, None, None]).unsqueeze(1)

    def auxiliary_magnitude(self, image: Tensor) -> Tensor:
        """The same of the auxiliary contrast."""
        magnitude = torch.abs(image)
        return ((magnitude - self.auxiliary_mean[:, None, None]) / self.auxiliary_std[:, None, None]).unsqueeze(1)

    def physical(self, output: Tensor) -> Tensor:
        """A network's output (B, 1, H, W) as a magnitude (B, H, W) in physical units, not below zero."""
        image = output.squeeze(1) * self.target_std[:, None, None] + self.target_mean[:, None, None]
        return torch.clamp(image, min=0)


class Build(nn.Module):
    """A network with its loss. `optimiser` is called once, before the first step."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = settings

    def output(self, images: Images) -> Any:
        """What the network gives."""
        raise NotImplementedError

    def loss(self, output: Any, images: Images) -> Tensor:
        """A scalar."""
        raise NotImplementedError

    def image(self, output: Any, images: Images) -> Tensor:
        """The prediction in physical units, (B, H, W). Here: of a network that gives one normalised magnitude."""
        return images.physical(output)

    def adam(self, module: nn.Module) -> torch.optim.Optimizer:
        """Adam, neither fused nor by hand."""
        betas = (self.settings["beta1"], 0.999)
        return torch.optim.Adam(module.parameters(), lr=self.settings["learning_rate"], betas=betas, fused=False)

    def optimiser(self) -> None:
        """Make the optimiser."""
        self.optimizer = self.adam(self)

    def step(self, images: Images) -> Tensor:
        """One training step; returns the loss."""
        self.train()
        self.optimizer.zero_grad()
        loss = self.loss(self.output(images), images)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, images: Images) -> Tensor:
        """Super-resolve whole slices."""
        self.eval()
        with torch.no_grad():
            return self.image(self.output(images), images)


def fft2c(image: Tensor) -> Tensor:
    """Centred orthonormal Fourier transform of the last two axes."""
    shifted = torch.fft.ifftshift(image, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))


def ifft2c(samples: Tensor) -> Tensor:
    """Its inverse."""
    shifted = torch.fft.ifftshift(samples, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))


def centre(samples: Tensor, h: int, w: int) -> Tensor:
    """The central h x w samples."""
    H, W = samples.shape[-2:]
    top, left = H // 2 - h // 2, W // 2 - w // 2
    return samples[..., top : top + h, left : left + w]
