"""The contextual matching of McMRSR (section 3), which follows MASA-SR (Lu et al., CVPR 2021, section 3).

All windows of every search region are unfolded, at every scale and for all blocks of the target at once; then those that match are
picked. Images have at least 15 LR pixels per side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
REGION = 15
"""LR pixels per side: twice int(8 / 2 * 1.5) + 1, and a rim of one."""


def blocks_of(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, blocks, C, 10, 10): blocks of 8 with a rim of one."""
    B, C, _, _ = features.shape
    padded = F.pad(features, (1, 1, 1, 1), mode="replicate")
    blocks = F.unfold(padded, BLOCK + 2, stride=BLOCK).transpose(1, 2)
    return blocks.reshape(B, -1, C, BLOCK + 2, BLOCK + 2)


def search(blocks: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
    """The corner of every block's search region, two (B, blocks): around the best match of its centre, inside the image."""
    B, n, C = blocks.shape[:3]
    h, w = auxiliary.shape[-2:]
    correlation: Tensor | float = 0.0
    for dilation in (1, 2, 3):
        side = slice(5 - dilation, 5 + dilation + 1, dilation)
        patches = F.normalize(blocks[:, :, :, side, side].reshape(B, n, C * 9), dim=2)
        windows = F.normalize(F.unfold(auxiliary, 3, dilation=dilation, padding=dilation), dim=1)
        correlation = correlation + torch.bmm(patches, windows)
    assert isinstance(correlation, Tensor)
    best = torch.argmax(correlation, dim=2)
    top = torch.clamp(torch.div(best, w, rounding_mode="floor") - REGION // 2, 0, h - REGION)
    left = torch.clamp(best % w - REGION // 2, 0, w - REGION)
    return top, left


def cut(features: Tensor, top: Tensor, left: Tensor, factor: int) -> Tensor:
    """The regions at ``factor`` times the LR size: (B * blocks, C, 15 * factor, 15 * factor)."""
    size = REGION * factor
    found = []
    for image, rows, columns in zip(features, top.tolist(), left.tolist(), strict=True):
        for row, column in zip(rows, columns, strict=True):
            y, x = row * factor, column * factor
            found.append(image[:, y : y + size, x : x + size])
    return torch.stack(found)


def compare(blocks: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Index (N, 64) of the best window of the region for each pixel of a block, and its cosine similarity (N, 1, 8, 8)."""
    patches = F.normalize(F.unfold(blocks, 3), dim=1)
    windows = F.normalize(F.unfold(regions, 3), dim=1)
    similarity = torch.bmm(patches.transpose(1, 2), windows)
    value, index = torch.max(similarity, dim=2)
    return index, value.view(-1, 1, BLOCK, BLOCK)


def transfer(regions: Tensor, index: Tensor, similarity: Tensor, factor: int) -> Tensor:
    """The matched windows laid over each other, their mean, times the similarity: (N, C, 8 * factor, 8 * factor)."""
    kernel, size = 3 * factor, BLOCK * factor
    windows = F.unfold(regions, kernel, stride=factor)
    matched = torch.gather(windows, 2, index.unsqueeze(1).expand(-1, windows.shape[1], -1))
    total = F.fold(matched, (size, size), kernel, padding=factor, stride=factor)
    overlap = F.fold(torch.ones_like(matched), (size, size), kernel, padding=factor, stride=factor)
    if factor > 1:
        similarity = F.interpolate(similarity, scale_factor=factor, mode="bilinear", align_corners=True)
    return total / overlap * similarity


def match(target: Tensor, auxiliary: Tensor, levels: list[Tensor]) -> list[Tensor]:
    """Auxiliary features for every place of the target, one (B, C, f * h, f * w) per level; levels: at 1, 2, 4 times LR size."""
    B, C, h, w = target.shape
    blocks = blocks_of(target)
    top, left = search(blocks, auxiliary)
    index, similarity = compare(blocks.flatten(0, 1), cut(auxiliary, top, left, 1))
    found = []
    for level in levels:
        factor = level.shape[-1] // w
        size = BLOCK * factor
        part = transfer(cut(level, top, left, factor), index, similarity, factor)
        part = part.view(B, h // BLOCK, w // BLOCK, C, size, size).permute(0, 3, 1, 4, 2, 5)
        found.append(part.reshape(B, C, h * factor, w * factor))
    return found
