"""Contextual matching of McMRSR: where in the auxiliary does each part of the target look alike, and what is found there.

Nothing is learned. Blocks of the target's LR features look for their best position among the auxiliary's LR features (coarse),
then every pixel of a block for its best pixel in the region around it (fine); the auxiliary's features at every scale are fetched
from there. Follows MASA-SR (Lu et al., CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, interpolate, normalize, pad, unfold

BLOCK = 8
"""LR pixels per side of a block."""
REGION = 15
"""LR pixels per side of the region that a block searches: 2 * int(BLOCK / 2 * 1.5) + 1 and a rim of one; a smaller image is it."""
DILATIONS = (1, 2, 3)
_SHIFTS = tuple((y, x) for y in range(3) for x in range(3))
"""Row and column of each pixel of a 3 x 3 neighbourhood."""
_CHUNK = 64
"""Blocks, of all images together, whose candidates are in memory at the same time."""


def match(target: Tensor, auxiliary: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
    """Fetch auxiliary features for every place of the target.

    target, auxiliary: LR features (B, C, h, w), h and w multiples of `BLOCK`. levels: auxiliary features at 1, 2 (4) times that
    size. Returns per level (B, C, f*h, f*w): the fetched features times the similarity of the match, -1..1.
    """
    B, w = len(target), target.shape[-1]
    top, left = coarse_positions(target, auxiliary)
    blocks = _blocks(target)
    fetched: list[list[Tensor]] = [[] for _ in levels]
    at_once = max(1, _CHUNK // B)
    for start in range(0, blocks.shape[1], at_once):
        part = slice(start, start + at_once)
        corner = top[:, part], left[:, part]
        index, similarity = fine_matches(blocks[:, part].flatten(0, 1), regions(auxiliary, *corner))
        for parts, level in zip(fetched, levels, strict=True):
            factor = level.shape[-1] // w
            found = transfer(level, *corner, index, factor) * enlarged(similarity, factor)
            parts.append(found.unflatten(0, (B, -1)))
    return [_assemble(torch.cat(parts, 1), level.shape[-2:]) for level, parts in zip(levels, fetched, strict=True)]


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


def regions(features: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Search regions with their rim, inside the image: (B * n, C, rows, columns), image by image.

    rows = min(`REGION`, h), columns = min(`REGION`, w). features: (B, C, h, w); top, left: (B, n), in LR pixels.
    """
    h, w = features.shape[-2:]
    rows, columns = (
        start[:, :, None] + torch.arange(min(REGION, size), device=features.device)
        for start, size in ((top, h), (left, w))
    )
    image = torch.arange(len(features), device=features.device)[:, None, None, None]
    found = features[image, :, rows[:, :, :, None], columns[:, :, None, :]]  # (B, n, rows, columns, C)
    return found.permute(0, 1, 4, 2, 3).flatten(0, 1)


def fine_matches(blocks: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """For every pixel of a block the most similar pixel of its region, by the cosine of 3 x 3 neighbourhoods.

    blocks: (N, C, 10, 10) and region: (N, C, rows, columns), both with a rim. Returns indices (N, 64) into the
    (rows - 2) * (columns - 2) pixels inside the region's rim, and similarities (N, 8, 8).
    """
    own = normalize(unfold(blocks, 3), dim=1).transpose(1, 2)
    similarity = own @ normalize(unfold(region, 3), dim=1)
    value, index = similarity.max(-1)
    return index, value.reshape(-1, BLOCK, BLOCK)


def transfer(level: Tensor, top: Tensor, left: Tensor, index: Tensor, factor: int) -> Tensor:
    """Neighbourhoods of the matched pixels laid over each other, mean where they overlap: (B * n, C, 8 * factor, 8 * factor).

    level: (B, C, factor * h, factor * w); top, left: of the regions, (B, n), in LR pixels; index: of `fine_matches`, (B * n, 64).
    Every pixel is the weighted sum of the nine that lie over each other there, read where they are: to unfold what was matched and
    to fold it again would pass nine times the result through memory.
    """
    B, C, H, W = level.shape
    inner = min(REGION, W // factor) - 2  # columns of a region inside its rim
    matched = index.view(B, -1, BLOCK, BLOCK)
    # A neighbourhood covers its pixel and the eight around it, so of a pixel's nine some are those of other pixels' matches.
    corners = (matched // inner + top[..., None, None], matched % inner + left[..., None, None])
    shifts = torch.tensor(_SHIFTS, device=index.device).T
    rows, columns = (_neighbours(corner) + shift for corner, shift in zip(corners, shifts, strict=True))
    within = _neighbours(torch.ones_like(matched[:1, :1])).to(level.dtype)
    weights = within / within.sum(-1, keepdim=True)  # a mean of those that lie in the block
    step = torch.arange(factor, device=index.device)
    image = torch.arange(B, device=index.device).view(-1, 1, 1, 1, 1, 1, 1) * (H * W)
    first = (rows * W + columns)[:, :, :, None, :, None] * factor
    places = image + first + (step[:, None, None, None] * W + step[:, None])
    found = embedding_bag(
        places.flatten(0, 5),
        level.permute(0, 2, 3, 1).reshape(-1, C),
        mode="sum",
        per_sample_weights=weights[:, :, :, None, :, None].expand_as(places).flatten(0, 5),
    )
    side = BLOCK * factor
    return found.view(-1, side, side, C).permute(0, 3, 1, 2)


def _neighbours(values: Tensor) -> Tensor:
    """Of every pixel of a block (..., 8, 8) the values of those that cover it, (..., 8, 8, 9); 0 for those beyond the block."""
    padded = pad(values, (1, 1, 1, 1))
    found = [padded[..., 2 - y : 2 - y + BLOCK, 2 - x : 2 - x + BLOCK] for y, x in _SHIFTS]
    return torch.stack(found, -1)


def enlarged(similarity: Tensor, factor: int) -> Tensor:
    """The similarities (N, 8, 8) of blocks as weights (N, 1, 8 * factor, 8 * factor): each block by itself, corner on corner."""
    weights = similarity[:, None]
    if factor == 1:
        return weights
    return interpolate(weights, scale_factor=factor, mode="bilinear", align_corners=True)


def _blocks(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, blocks, C, 10, 10): blocks with one pixel of their neighbours, the map's edge repeated."""
    C = features.shape[1]
    found = unfold(pad(features, (1, 1, 1, 1), mode="replicate"), BLOCK + 2, stride=BLOCK)
    return found.transpose(1, 2).unflatten(2, (C, BLOCK + 2, BLOCK + 2))


def _assemble(blocks: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, blocks, C, s, s), row by row, to (B, C, H, W); shape: (H, W)."""
    H, W = shape
    s = blocks.shape[-1]
    x = blocks.unflatten(1, (H // s, W // s))
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(blocks), -1, H, W)
