"""Network blocks that several methods share; pure torch, images and features are (B, C, h, w).

Every convolution has a bias and zero padding that keeps the size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UPSAMPLING_STEPS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""Per scale, the factors of the sub-pixel steps."""


def conv(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps the image size (``kernel`` is odd)."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)


class ShiftedConv(nn.Conv2d):
    """`conv` of images to which constants are added before the zero padding, so that beyond the border there are none.

    One more input channel is 1 on the image and, like the image, padded with 0; its weights are those of the image channels
    times their constants. A constant that is put into the bias instead acts beyond the border as well.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__(in_channels + 1, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, out_channels, h, w)."""
        return super().forward(torch.cat((x, torch.ones_like(x[:, :1])), 1))


def sub_pixel_upsampler(width: int, scale: int) -> nn.Sequential:
    """(B, width, h, w) to (B, width, s*h, s*w): one conv3x3 and pixel shuffle per factor of the scale (Shi et al., CVPR 2016).

    Scales 2, 4 and 8 are one to three steps of 2, scale 3 is one step of 3, as in EDSR; ValueError for any other.
    """
    if scale not in UPSAMPLING_STEPS:
        raise ValueError(f"no sub-pixel up-sampling for scale {scale}; there is {sorted(UPSAMPLING_STEPS)}")
    steps: list[nn.Module] = []
    for factor in UPSAMPLING_STEPS[scale]:
        steps += [conv(width, width * factor**2), nn.PixelShuffle(factor)]
    return nn.Sequential(*steps)


class ResidualBlock(nn.Module):
    """x + factor * conv(ReLU(conv(x))), without normalisation (EDSR, Lim et al., CVPR Workshops 2017)."""

    def __init__(self, width: int, factor: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.ReLU(inplace=True), conv(width, width))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return torch.add(x, self.body(x), alpha=self.factor)


class EDSRNetwork(nn.Module):
    """head + body, then the up-sampler: EDSR for one channel (Lim et al., CVPR Workshops 2017), without its colour mean shift.

    Residual blocks at LR size, sub-pixel up-sampling last; ``scale`` 1 keeps the size.
    """

    def __init__(
        self,
        scale: int,
        *,
        width: int = 256,
        blocks: int = 32,
        residual_factor: float = 0.1,
        shifted_input: bool = False,
    ) -> None:
        """shifted_input: the head is a `ShiftedConv`, for weights of a network that shifts its input."""
        super().__init__()
        self.head = ShiftedConv(1, width) if shifted_input else conv(1, width)
        self.body = nn.Sequential(
            *(ResidualBlock(width, residual_factor) for _ in range(blocks)),
            conv(width, width),
        )
        self.tail = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, 1))

    def forward(self, target_lr: Tensor) -> Tensor:
        """(B, 1, h, w) to (B, 1, s*h, s*w)."""
        x = self.head(target_lr)
        return self.tail(x + self.body(x))


class SpatialMean(nn.Module):
    """The mean of every channel; its gradient is one number per channel until it is added to another, not an image of them."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, 1, 1)."""
        return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


class ChannelAttention(nn.Module):
    """Scales every channel by a gate in 0..1 computed from all channel means (RCAN, Zhang et al., ECCV 2018)."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        """reduction: the gate's hidden layer has width / reduction channels, but at least 4: a ReLU layer of one is often dead."""
        super().__init__()
        hidden = max(4, width // reduction)
        self.gate = nn.Sequential(
            SpatialMean(), conv(width, hidden, 1), nn.ReLU(), conv(hidden, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x * self.gate(x)


class ChannelAttentionBlock(nn.Module):
    """x + channel attention of conv(ReLU(conv(x))): RCAN's residual channel attention block (RCAB), no residual scaling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width), nn.ReLU(inplace=True), conv(width, width), ChannelAttention(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return self.body(x).add_(x)  # in place, as nothing else needs it


class ResidualGroup(nn.Module):
    """x + conv(a chain of RCABs): RCAN's residual group."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(ChannelAttentionBlock(width) for _ in range(blocks)), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return self.body(x).add_(x)  # in place, as nothing else needs it
