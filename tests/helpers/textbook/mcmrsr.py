"""McMRSR: Li et al., "Transformer-empowered Multi-scale Contextual Matching and Aggregation for Multi-contrast MRI
Super-resolution", CVPR 2022, section 3.

The slow phase of the images is taken off before and put back after, as the suite's card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .edsr import ResBlock
from .matching import match
from .swin import SwinTransformer
from .training import Build, Images, centre, fft2c, ifft2c


def blocks(width: int, number: int) -> nn.Sequential:
    """Residual blocks, not scaled."""
    return nn.Sequential(*[ResBlock(width, 1.0) for _ in range(number)])


class SpatialAdaptation(nn.Module):
    """SAB: the reference gets the target's statistics, modulated pixel by pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.style = nn.Conv2d(2 * width, width, 3, padding=1)
        self.gamma = nn.Conv2d(width, width, 3, padding=1)
        self.beta = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        style = F.relu(self.style(torch.cat([target, reference], dim=1)))
        mean = torch.mean(target, dim=(2, 3), keepdim=True)
        std = torch.std(target, dim=(2, 3), keepdim=True)
        gamma = self.gamma(style) + std
        beta = self.beta(style) + mean
        return F.instance_norm(reference) * gamma + beta


class JointResidual(nn.Module):
    """JRFAB: residuals of reference and target to each other, then both joined. ``down``, ``up``: how the sizes are changed."""

    def __init__(self, width: int, *, half: bool) -> None:
        super().__init__()

        def down() -> nn.Module:
            return nn.Conv2d(width, width, 3, stride=2 if half else 1, padding=1)

        def up() -> nn.Module:
            if half:
                return nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
            return nn.Conv2d(width, width, 3, padding=1)

        self.down_a = down()
        self.up_a = up()
        self.down_b = down()
        self.up_b = up()
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        u = F.relu(self.up_a(F.relu(self.down_a(reference)) - target)) + reference
        residual = target - F.relu(self.down_b(reference))
        v = F.relu(self.up_b(residual + target))
        return F.relu(self.join(torch.cat([u, v], dim=1)))


class Network(nn.Module):
    """Features of all images by one transformer, matching at LR size, aggregation from LR size upwards. For scale 4."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        width = settings["width"]
        self.shallow = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.ReLU(), blocks(width, 2))
        self.transformer = SwinTransformer(
            width, settings["groups"], settings["depth"], settings["heads"], settings["drop_path"]
        )
        self.reference = nn.ModuleList(
            [
                nn.Conv2d(2, width, 3, padding=1),
                nn.Conv2d(width, width, 3, stride=2, padding=1),
                nn.Conv2d(width, width, 3, stride=2, padding=1),
            ]
        )
        self.adapt = SpatialAdaptation(width)
        self.join_same = JointResidual(width, half=False)
        self.join = JointResidual(width, half=True)
        self.after = nn.ModuleList([blocks(width, number) for number in settings["blocks"]])
        self.out = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, target_lr: Tensor, auxiliary_lr: Tensor, auxiliary: Tensor) -> Tensor:
        target = self.transformer(self.shallow(target_lr))
        low = self.transformer(self.shallow(auxiliary_lr))
        r0 = self.transformer(self.reference[0](auxiliary))
        r1 = self.transformer(self.reference[1](r0))
        r2 = self.transformer(self.reference[2](r1))
        matched = match(target, low, [r2, r1, r0])
        x = self.after[0](self.join_same(target, self.adapt(target, matched[0])))
        for i in (1, 2):
            larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.after[i](self.join(x, self.adapt(larger, matched[i])))
        return self.out(x)


class McMRSR(Build):
    """Complex in, complex out, then data consistency."""

    def __init__(self, scale: int, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.network = Network(settings)
        self.scale = scale

    def output(self, images: Images) -> Tensor:
        target_lr = images.target_lr / images.target_std[:, None, None]
        auxiliary_lr = images.auxiliary_lr / images.auxiliary_std[:, None, None]
        auxiliary = images.auxiliary / images.auxiliary_std[:, None, None]
        own, other = slow_phase(target_lr), slow_phase(auxiliary_lr)
        output = self.network(
            channels(target_lr * own.conj()),
            channels(auxiliary_lr * other.conj()),
            channels(auxiliary * enlarge(other, self.scale).conj()),
        )
        return torch.complex(output[:, 0], output[:, 1]) * enlarge(own, self.scale)

    def loss(self, output: Tensor, images: Images) -> Tensor:
        target = images.target / images.target_std[:, None, None]
        loss = F.l1_loss(channels(output), channels(target))
        weight = self.settings["kspace_weight"]
        if weight:
            H, W = target.shape[-2:]
            scaled = (H * W) ** 0.5  # the paper's transform is not normalised
            predicted = fft2c(self.consistent(output, images)) * scaled
            loss = loss + weight * F.mse_loss(channels(predicted), channels(fft2c(target) * scaled))
        return loss

    def image(self, output: Tensor, images: Images) -> Tensor:
        return self.consistent(output, images) * images.target_std[:, None, None]

    def consistent(self, output: Tensor, images: Images) -> Tensor:
        """The k-space of the output with the measured centre."""
        low = images.target_lr / images.target_std[:, None, None]
        h, w = low.shape[-2:]
        samples = fft2c(output)
        measured = torch.zeros_like(samples)
        centre(measured, h, w).copy_(fft2c(low) * self.scale)
        mask = torch.zeros(samples.shape[-2:], device=samples.device)
        centre(mask, h, w).fill_(1)
        return ifft2c((1 - mask) * samples + mask * measured)


def channels(image: Tensor) -> Tensor:
    """Complex (B, H, W) to (B, 2, H, W)."""
    return torch.stack([image.real, image.imag], dim=1)


def slow_phase(image: Tensor) -> Tensor:
    """exp(i phase) of the image after a binomial filter of 5 x 5."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=image.real.dtype, device=image.device) / 16
    kernel = torch.outer(taps, taps)[None, None].expand(2, 1, 5, 5)
    smooth = F.conv2d(F.pad(channels(image), (2, 2, 2, 2), mode="replicate"), kernel, groups=2)
    return unit(torch.complex(smooth[:, 0], smooth[:, 1]))


def enlarge(phase: Tensor, scale: int) -> Tensor:
    """Phase factors at HR size, linear between: LR sample i is HR sample scale * i."""
    h, w = phase.shape[-2:]
    padded = F.pad(channels(phase), (0, 1, 0, 1), mode="replicate")
    size = (scale * h + 1, scale * w + 1)
    large = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)[:, :, :-1, :-1]
    return unit(torch.complex(large[:, 0], large[:, 1]))


def unit(x: Tensor) -> Tensor:
    """x / |x|, 1 where x is 0."""
    size = torch.abs(x)
    return torch.where(size > 0, x / torch.clamp(size, min=1e-30), torch.ones_like(x))
