"""The network of Zeng et al.: one body of residual blocks, at LR size for the target alone, then at HR size with the auxiliary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mcsr_bench.nn import ResidualBlock, conv, sub_pixel_upsampler


class ZengNetwork(nn.Module):
    """Two stages that give a single-contrast and a multi-contrast SR image; residual blocks as in EDSR, heads of 5 x 5.

    Zeng et al., Computers in Biology and Medicine 99:133, 2018, as far as it is known: see the card.
    """

    def __init__(
        self, scale: int, *, width: int = 64, blocks: int = 16, residual_factor: float = 0.1, share_body: bool = True
    ) -> None:
        super().__init__()

        def body() -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width, residual_factor) for _ in range(blocks)), conv(width, width))

        self.single_head = conv(1, width, 5)
        self.single_body = body()
        self.single_tail = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, 1))
        self.multi_head = conv(2, width, 5)
        self.multi_body = self.single_body if share_body else body()
        self.multi_tail = conv(width, 1)

    def forward(self, target_lr: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Super-resolve without, then with the auxiliary; no gradient is stopped in between.

        target_lr (B, 1, h, w), auxiliary (B, 1, s*h, s*w) to (multi-contrast, single-contrast), each (B, 1, s*h, s*w).
        """
        x = self.single_head(target_lr)
        single = self.single_tail(x + self.single_body(x))
        y = self.multi_head(torch.cat((single, auxiliary), 1))
        return self.multi_tail(y + self.multi_body(y)), single
