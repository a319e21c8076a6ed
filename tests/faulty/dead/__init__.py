"""A fault on purpose: a convolution that is built and never called."""

import torch
from torch import Tensor, nn

from mcsr_bench import Batch, TorchMethod
from mcsr_bench.nn import conv, sub_pixel_upsampler


class Network(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.low = nn.Sequential(conv(1, 4), nn.LeakyReLU(), *sub_pixel_upsampler(4, scale))
        self.last = conv(5, 1)
        self.unused = conv(4, 4)

    def forward(self, low: Tensor, auxiliary: Tensor) -> Tensor:
        return self.last(torch.cat((self.low(low), auxiliary), 1))


class Toy(TorchMethod):
    def build_network(self) -> nn.Module:
        return Network(self.scale)

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch.target_lr_magnitude[:, None], batch.auxiliary_magnitude[:, None])[:, 0]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return self.pixel_loss(output, batch.target_magnitude)
