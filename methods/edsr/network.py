"""The network of EDSR: residual blocks at LR size, sub-pixel up-sampling last."""

from __future__ import annotations

from torch import Tensor, nn

from mcsr_bench.nn import ResidualBlock, conv, sub_pixel_upsampler


class EDSRNetwork(nn.Module):
    """EDSR for one channel: Lim et al., CVPR Workshops 2017, without the mean shift of its colour images."""

    def __init__(self, scale: int, *, width: int = 256, blocks: int = 32, residual_factor: float = 0.1) -> None:
        super().__init__()
        self.head = conv(1, width)
        self.body = nn.Sequential(
            *(ResidualBlock(width, residual_factor) for _ in range(blocks)),
            conv(width, width),
        )
        self.tail = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, 1))

    def forward(self, target_lr: Tensor) -> Tensor:
        """(B, 1, h, w) to (B, 1, s*h, s*w)."""
        x = self.head(target_lr)
        return self.tail(x + self.body(x))
