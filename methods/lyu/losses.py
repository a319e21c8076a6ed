"""The losses of Lyu et al. beside the pixel loss: WGAN-GP, and perceptual and texture terms on features of a VGG network."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from mcsr_bench.errors import UserError

_STAGES = ((64, 64), (128, 128), (256, 256, 256))
"""Widths of VGG-16's convolutions up to the third ReLU of its third stage (relu3_3)."""


class VGGFeatures(nn.Module):
    """VGG-16 up to relu3_3 (Simonyan and Zisserman, ICLR 2015) with fixed weights; the one channel is given three times."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, stage in enumerate(_STAGES):
            layers += [nn.MaxPool2d(2)] if number else []
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, 1, h, w) to features (B, 256, h/4, w/4)."""
        return self.features(image.expand(-1, 3, -1, -1))

    @classmethod
    def load(cls, path: Path) -> VGGFeatures:
        """From a state dict of VGG-16 (``features.0.weight`` ...), safetensors or torch; later layers in the file are not used.

        Raises UserError when the file is missing, is anything but tensors, or does not fit.
        """
        network = cls()
        if not path.is_file():
            raise UserError(f"--set lyu.vgg_weights={path}: no such file")
        try:
            if path.suffix == ".safetensors":
                tensors = safetensors.torch.load_file(path)
            else:
                tensors = torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict({name: tensors[name] for name in network.state_dict()})
        except Exception as error:  # whatever is in a user's file: pickled code, damage, another network
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"--set lyu.vgg_weights={path}: not the weights of VGG-16 as plain tensors: {reason}"
            ) from None
        return network


def gram(features: Tensor) -> Tensor:
    """Gram matrices over channels, per pixel and channel: (B, C, h, w) to (B, C, C)."""
    B, C, h, w = features.shape
    flat = features.reshape(B, C, h * w)
    return flat @ flat.transpose(1, 2) / (C * h * w)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """mean((|d critic / d x| - 1)^2) at random points between real and fake images, (B, 1, h, w) each (Gulrajani et al., 2017).

    ValueError when their shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"gradient penalty between real {tuple(real.shape)} and fake images {tuple(fake.shape)}")
    mix = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
