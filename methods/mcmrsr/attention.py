"""The transformer of McMRSR: window attention in residual groups, as in SwinIR (Liang et al., 2021; Swin: Liu et al., 2021).

Features are (B, C, h, w) with h and w multiples of the window; inside the groups they are tokens (B, h, w, C).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mcsr_bench.nn import conv

LARGE = 1 << 15
"""Tokens of an image above which a training step computes a block again for its gradient, instead of holding what is inside it."""


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows of ``window`` x ``window`` tokens, with a learned bias per relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("index", relative_index(window), persistent=False)
        self.index: Tensor

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: tokens of images, (B, h, w, C). mask: added to the attention logits, (windows of an image, T, T) or None.

        Written out: torch's own attention would copy the bias for every window, and look for rows that are masked as a whole.
        Tokens are put in order by head and by window at once.
        """
        q, k, v = (to_windows(part, self.window, self.heads) for part in self.qkv(x).chunk(3, -1))
        T, d = q.shape[-2:]
        logits = (q * d**-0.5) @ k.transpose(-2, -1)  # (B, windows of an image, heads, T, T)
        bias = self.bias[self.index.flatten()].reshape(T, T, self.heads).permute(2, 0, 1)
        logits += bias if mask is None else bias + mask[:, None]
        return self.proj(from_windows(logits.softmax(-1) @ v, self.window, x.shape))


class SwinBlock(nn.Module):
    """Pre-norm attention in windows, shifted or not, then a two-layer perceptron; both residual, at times dropped in training."""

    def __init__(self, width: int, heads: int, window: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shift = window // 2 if shifted else 0
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same."""
        shift, y = self.shift, self.norm1(x)
        y = torch.roll(y, (-shift, -shift), (1, 2)) if shift else y
        mask = shift_mask(*x.shape[1:3], self.attention.window, shift, x.device) if shift else None
        y = self.attention(y, mask)
        y = torch.roll(y, (shift, shift), (1, 2)) if shift else y
        x = self._with(x, y)
        return self._with(x, self.mlp(self.norm2(x)))

    def _with(self, x: Tensor, branch: Tensor) -> Tensor:
        """The sum; in training without the branch for some samples of the batch (stochastic depth, Huang et al., 2016)."""
        if not self.training or self.drop_path == 0:
            return x + branch
        keep = 1 - self.drop_path
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < keep
        return torch.addcmul(x, branch, chosen / keep)


class SwinGroup(nn.Module):
    """x + conv3x3(a chain of Swin blocks), every second one shifted."""

    def __init__(self, width: int, depth: int, heads: int, window: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, heads, window, shifted=bool(i % 2), drop_path=drop_paths[i]) for i in range(depth)
        )
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same."""
        y = x
        large = self.training and x.shape[1] * x.shape[2] > LARGE and not x.is_meta  # where FLOP are counted
        for block in self.blocks:
            y = checkpoint(block, y, use_reentrant=False) if large else block(y)
        return x + self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinTransformer(nn.Module):
    """x + conv3x3(norm(groups(norm(x)))): one set of weights for all images and scales."""

    def __init__(self, width: int, groups: int, depth: int, heads: int, window: int, drop_path: float) -> None:
        super().__init__()
        rates = torch.linspace(0, drop_path, groups * depth, device="cpu").tolist()
        self.embed_norm = nn.LayerNorm(width)
        self.groups = nn.ModuleList(
            SwinGroup(width, depth, heads, window, rates[i * depth : (i + 1) * depth]) for i in range(groups)
        )
        self.norm = nn.LayerNorm(width)
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same; h and w multiples of the window."""
        y = self.embed_norm(x.permute(0, 2, 3, 1))
        for group in self.groups:
            y = group(y)
        return x + self.conv(self.norm(y).permute(0, 3, 1, 2))


def to_windows(x: Tensor, window: int, heads: int = 1) -> Tensor:
    """(B, h, w, heads * d) to (B, windows of an image, heads, window^2, d), windows and tokens row by row."""
    B, h, w, _ = x.shape
    x = x.reshape(B, h // window, window, w // window, window, heads, -1)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(B, (h // window) * (w // window), heads, window**2, -1)


def from_windows(x: Tensor, window: int, shape: torch.Size) -> Tensor:
    """The inverse of `to_windows`; shape: (B, h, w, heads * d)."""
    B, h, w, _ = shape
    x = x.reshape(B, h // window, w // window, x.shape[2], window, window, -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(shape)


def relative_index(window: int) -> Tensor:
    """(T, T) integers: which entry of the bias table belongs to the positions of two tokens of a window."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    dy = y.flatten()[:, None] - y.flatten()[None] + window - 1
    dx = x.flatten()[:, None] - x.flatten()[None] + window - 1
    return dy * (2 * window - 1) + dx


@lru_cache(maxsize=8)
def shift_mask(h: int, w: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(windows, T, T): 0 where two tokens of a shifted window were neighbours before the shift, -inf where it wrapped round.

    The published code has -100. Both give the same sums to the last bit, but exp(-100) is a subnormal number, and with those a
    processor multiplies several times more slowly.
    """

    def region(n: int) -> Tensor:
        position = torch.arange(n, device=device)
        return (position >= n - window).long() + (position >= n - shift).long()

    regions = region(h)[:, None] * 3 + region(w)[None]
    flat = to_windows(regions[None, :, :, None], window)[0, :, 0, :, 0]
    apart = flat[:, :, None] != flat[:, None, :]
    return torch.zeros(apart.shape, device=device).masked_fill_(apart, -torch.inf)
