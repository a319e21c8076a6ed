"""A fault on purpose: the gradient's sign is wrong."""

import torch
from torch import Tensor, nn

from mcsr_bench import Batch, TorchMethod, Update
from mcsr_bench.nn import conv, sub_pixel_upsampler


class Network(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.low = nn.Sequential(conv(1, 4), nn.LeakyReLU(), *sub_pixel_upsampler(4, scale))
        self.last = conv(5, 1)

    def forward(self, low: Tensor, auxiliary: Tensor) -> Tensor:
        return self.last(torch.cat((self.low(low), auxiliary), 1))


class Toy(TorchMethod):
    def build_network(self) -> nn.Module:
        return Network(self.scale)

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch.target_lr_magnitude[:, None], batch.auxiliary_magnitude[:, None])[:, 0]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return self.pixel_loss(output, batch.target_magnitude)

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.loss(self.forward(batch), batch)
        update("network", -loss)
        return {"loss": loss.detach()}
