"""The generator of Lyu et al.: a level per doubling, contrasts joined in feature space; and the critic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcsr_bench.nn import ResidualBlock, conv, sub_pixel_upsampler


class Level(nn.Module):
    """One doubling: target encoder at LR size and sub-pixel step, reference encoder at the level's size, joint decoder."""

    def __init__(self, width: int, encoder_blocks: int, decoder_blocks: int) -> None:
        super().__init__()
        self.target_encoder = _encoder(width, encoder_blocks)
        self.target_up = sub_pixel_upsampler(width, 2)
        self.reference_encoder = _encoder(width, encoder_blocks)
        self.join = conv(2 * width, width)
        self.decoder = nn.Sequential(*(ResidualBlock(width) for _ in range(decoder_blocks)), conv(width, 1))

    def forward(self, target: Tensor, reference: Tensor) -> Tensor:
        """target (B, 1, h, w), reference (B, 1, 2h, 2w) to (B, 1, 2h, 2w)."""
        features = torch.cat((self.target_up(self.target_encoder(target)), self.reference_encoder(reference)), 1)
        return self.decoder(self.join(features))


class LyuNetwork(nn.Module):
    """One level at 2x, two at 4x, three at 8x; levels share nothing."""

    def __init__(self, scale: int, *, width: int = 64, encoder_blocks: int = 15, decoder_blocks: int = 14) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Level(width, encoder_blocks, decoder_blocks) for _ in range(scale.bit_length() - 1))

    def forward(self, target_lr: Tensor, references: Sequence[Tensor]) -> list[Tensor]:
        """target_lr (B, 1, h, w) and the auxiliary at 2h, 4h ... to the image of every level, the HR one last."""
        images: list[Tensor] = []
        for level, reference in zip(self.levels, references, strict=True):
            images.append(level(images[-1] if images else target_lr, reference))
        return images


class Critic(nn.Module):
    """Scores images of any size: six strided convolutions, global average, two dense layers."""

    def __init__(self, width: int = 64, dense: int = 1024) -> None:
        super().__init__()
        widths = [1, width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for i in range(6):
            layers += [nn.Conv2d(widths[i], widths[i + 1], 3, stride=1 + i % 2, padding=1), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.score = nn.Sequential(nn.Linear(4 * width, dense), nn.LeakyReLU(0.2), nn.Linear(dense, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, h, w) to scores (B,), unbounded; higher is more like a real image."""
        return self.score(self.features(image))[:, 0]


def _encoder(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(conv(1, width), *(ResidualBlock(width) for _ in range(blocks)))
