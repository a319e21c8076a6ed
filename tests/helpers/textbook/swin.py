"""The transformer of McMRSR (section 3): shifted windows as in Swin (Liu et al., ICCV 2021, section 3), groups as in SwinIR
(Liang et al., ICCV Workshops 2021, section 3).

The mask of the shifted windows is made in every group, for the size at hand, and added window by window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def window_partition(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) to (windows * B, size, size, C)."""
    B, H, W, C = x.shape
    x = x.view(B, H // size, size, W // size, size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size, size, C)


def window_reverse(windows: Tensor, size: int, H: int, W: int) -> Tensor:
    """The inverse of `window_partition`."""
    B = windows.shape[0] // (H * W // size // size)
    x = windows.view(B, H // size, W // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)


def attention_mask(H: int, W: int, size: int, shift: int, like: Tensor) -> Tensor:
    """(windows, T, T): -100 between tokens that were no neighbours before the shift."""
    image = like.new_zeros(1, H, W, 1)
    parts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    number = 0
    for rows in parts:
        for columns in parts:
            image[:, rows, columns, :] = number
            number += 1
    windows = window_partition(image, size).view(-1, size * size)
    difference = windows.unsqueeze(1) - windows.unsqueeze(2)
    return difference.masked_fill(difference != 0, -100.0).masked_fill(difference == 0, 0.0)


class WindowAttention(nn.Module):
    """Plain softmax attention within windows, with relative position bias."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.bias_table = nn.Parameter(torch.zeros((2 * size - 1) * (2 * size - 1), heads))
        coordinates = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
        relative = (coordinates[:, :, None] - coordinates[:, None, :]).permute(1, 2, 0).contiguous()
        relative[:, :, 0] = (relative[:, :, 0] + size - 1) * (2 * size - 1)
        relative[:, :, 1] += size - 1
        self.register_buffer("index", relative.sum(-1))
        self.index: Tensor
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: (windows * B, T, C)."""
        N, T, C = x.shape
        qkv = self.qkv(x).reshape(N, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attention = q @ k.transpose(-2, -1)
        bias = self.bias_table[self.index.view(-1)].view(T, T, -1).permute(2, 0, 1).contiguous()
        attention = attention + bias.unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            attention = attention.view(N // windows, windows, self.heads, T, T)
            attention = attention + mask.unsqueeze(1).unsqueeze(0)
            attention = attention.view(N, self.heads, T, T)
        attention = torch.softmax(attention, dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(N, T, C))


class DropPath(nn.Module):
    """Stochastic depth, per sample (Huang et al., ECCV 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = (torch.rand(x.shape[0], 1, 1, 1, device=x.device) < keep).to(x.dtype)
        return x.div(keep) * kept


class SwinBlock(nn.Module):
    """Attention in windows and a perceptron, each after a norm and with a skip."""

    def __init__(self, width: int, heads: int, size: int, shift: int, drop: float) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, size)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, H, W, C), tokens; mask of the image's size."""
        _, H, W, C = x.shape
        shortcut = x
        x = self.norm1(x)
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.size).view(-1, self.size * self.size, C)
        windows = self.attention(windows, mask if self.shift else None)
        x = window_reverse(windows.view(-1, self.size, self.size, C), self.size, H, W)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + self.drop_path(x)
        return x + self.drop_path(self.fc2(self.gelu(self.fc1(self.norm2(x)))))


class ResidualSwinGroup(nn.Module):
    """Blocks, every second one shifted by half a window, a convolution, a skip."""

    def __init__(self, width: int, depth: int, heads: int, size: int, drops: list[float]) -> None:
        super().__init__()
        self.size = size
        self.blocks = nn.ModuleList(
            [SwinBlock(width, heads, size, 0 if i % 2 == 0 else size // 2, drops[i]) for i in range(depth)]
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C)."""
        mask = attention_mask(x.shape[1], x.shape[2], self.size, self.size // 2, x)
        y = x
        for block in self.blocks:
            y = block(y, mask)
        y = self.conv(y.permute(0, 3, 1, 2).contiguous())
        return x + y.permute(0, 2, 3, 1)


class SwinTransformer(nn.Module):
    """Norm, groups, norm, convolution, and a skip around all of it."""

    def __init__(self, width: int, groups: int, depth: int, heads: int, drop: float, size: int = 8) -> None:
        super().__init__()
        drops = [float(rate) for rate in torch.linspace(0, drop, groups * depth)]
        self.embed_norm = nn.LayerNorm(width)
        self.groups = nn.ModuleList(
            [ResidualSwinGroup(width, depth, heads, size, drops[i * depth : (i + 1) * depth]) for i in range(groups)]
        )
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        y = self.embed_norm(x.permute(0, 2, 3, 1).contiguous())
        for group in self.groups:
            y = group(y)
        return x + self.conv(self.norm(y).permute(0, 3, 1, 2).contiguous())
