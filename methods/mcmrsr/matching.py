"""Contextual matching of McMRSR: where in the auxiliary does each part of the target look alike, and what is found there.

Nothing is learned. Blocks of the target's LR features look for their best position among the auxiliary's LR features (coarse),
then every pixel of a block for its best pixel in the region around it (fine); the auxiliary's features at every scale are fetched
from there. Follows MASA-SR (Lu et al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import fold, interpolate, normalize, pad, unfold

BLOCK = 8
"""LR pixels per side of a block."""
REGION = 15
"""LR pixels per side of the region that a block searches: 2 * int(BLOCK / 2 * 1.5) + 1 and a rim of one; a smaller image is it."""
DILATIONS = (1, 2, 3)
_CHUNK = 64
"""Blocks whose candidates are in memory at the same time."""


def match(target: Tensor, auxiliary: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
    """Fetch auxiliary features for every place of the target.

    target, auxiliary: LR features (B, C, h, w), h and w multiples of `BLOCK`. levels: auxiliary features at 1, 2 (4) times that
    size. Returns per level (B, C, f*h, f*w): the fetched features times the similarity of the match, -1..1.
    """
    B, _, h, w = target.shape
    top, left = coarse_positions(target, auxiliary)
    blocks = _blocks(target)
    fetched: list[list[Tensor]] = [[] for _ in levels]
    per_image = (h // BLOCK) * (w // BLOCK)
    image = torch.arange(B, device=target.device).repeat_interleave(per_image)
    for start in range(0, len(blocks), _CHUNK):
        part = slice(start, start + _CHUNK)
        where = (image[part], top.flatten()[part], left.flatten()[part])
        index, similarity = fine_matches(blocks[part], regions(auxiliary, *where))
        for parts, level in zip(fetched, levels, strict=True):
            factor = level.shape[-1] // w
            found = transfer(regions(level, *where, factor=factor), index, factor)
            parts.append(found * enlarged(similarity, factor))
    return [
        _assemble(torch.cat(parts), (B, level.shape[-2], level.shape[-1]))
        for level, parts in zip(levels, fetched, strict=True)
    ]


def coarse_positions(target: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
    """Top and left LR pixel, two (B, blocks), of each block's search region: around the best match of its centre, inside the image.

    Similarity: cosine of the 3 x 3 neighbourhoods of the block's pixel (4, 4) and of every auxiliary pixel, summed over dilations.
    """
    B, C, h, w = target.shape
    total = torch.zeros((), device=target.device)
    for dilation in DILATIONS:
        reach = BLOCK // 2  # from the pixel (4, 4) of a block, 3 pixels each way stay within the map's rim of one
        padded = pad(target, (1, 1, 1, 1), mode="replicate")
        offsets = [reach + 1 + d * dilation for d in (-1, 0, 1)]
        rows, columns = (
            torch.arange(0, n, BLOCK, device=target.device)[:, None] + torch.tensor(offsets, device=target.device)
            for n in (h, w)
        )
        own = padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]  # (B, C, rows, columns, 3, 3)
        own = own.permute(0, 2, 3, 1, 4, 5).reshape(B, -1, C * 9)
        theirs = unfold(auxiliary, 3, dilation=dilation, padding=dilation)  # (B, C * 9, h * w)
        total = total + normalize(own, dim=2) @ normalize(theirs, dim=1)
    best = total.argmax(-1)
    top = (best // w - REGION // 2).clamp(0, max(0, h - REGION))
    left = (best % w - REGION // 2).clamp(0, max(0, w - REGION))
    return top, left


def regions(features: Tensor, image: Tensor, top: Tensor, left: Tensor, *, factor: int = 1) -> Tensor:
    """Search regions, inside the image with their rim: (N, C, factor * rows, factor * columns).

    rows = min(`REGION`, h), columns = min(`REGION`, w). features: (B, C, factor * h, factor * w); image: (N,), which of the B;
    top, left: (N,), where in it, in LR pixels.
    """
    rows, columns = (
        factor * start[:, None] + torch.arange(min(factor * REGION, n), device=features.device)
        for start, n in ((top, features.shape[-2]), (left, features.shape[-1]))
    )
    found = features[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def fine_matches(blocks: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """For every pixel of a block the most similar pixel of its region, by the cosine of 3 x 3 neighbourhoods.

    blocks: (N, C, 10, 10) and region: (N, C, rows, columns), both with a rim. Returns indices (N, 64) into the
    (rows - 2) * (columns - 2) pixels inside the region's rim, and similarities (N, 8, 8).
    """
    own = normalize(unfold(blocks, 3), dim=1).transpose(1, 2)
    similarity = own @ normalize(unfold(region, 3), dim=1)
    value, index = similarity.max(-1)
    return index, value.reshape(-1, BLOCK, BLOCK)


def transfer(region: Tensor, index: Tensor, factor: int) -> Tensor:
    """Neighbourhoods of the matched pixels laid over each other, mean where they overlap: (N, C, 8 * factor, 8 * factor)."""
    size, kernel = factor * (BLOCK + 2), 3 * factor
    patches = unfold(region, kernel, stride=factor)
    chosen = patches.gather(2, index[:, None, :].expand(-1, patches.shape[1], -1))
    total = fold(chosen, (size, size), kernel, stride=factor)
    count = fold(torch.ones_like(chosen[:1, : kernel * kernel]), (size, size), kernel, stride=factor)
    inner = slice(factor, -factor)
    return (total / count)[:, :, inner, inner]


def enlarged(similarity: Tensor, factor: int) -> Tensor:
    """The similarities (N, 8, 8) of blocks as weights (N, 1, 8 * factor, 8 * factor): each block by itself, corner on corner."""
    weights = similarity[:, None]
    if factor == 1:
        return weights
    return interpolate(weights, scale_factor=factor, mode="bilinear", align_corners=True)


def _blocks(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B * blocks, C, 10, 10): blocks with one pixel of their neighbours, the map's edge repeated."""
    C = features.shape[1]
    found = unfold(pad(features, (1, 1, 1, 1), mode="replicate"), BLOCK + 2, stride=BLOCK)
    return found.transpose(1, 2).reshape(-1, C, BLOCK + 2, BLOCK + 2)


def _assemble(blocks: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(B * blocks, C, s, s), row by row, to (B, C, H, W)."""
    B, H, W = shape
    s = blocks.shape[-1]
    x = blocks.reshape(B, H // s, W // s, -1, s, s)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(B, -1, H, W)
