"""The smallest multi-contrast network that trains; its faults make trials fail on purpose."""

import os
import signal

import torch
from torch import Tensor, nn

from mcsr_bench import Batch, TorchMethod, TrainingSettings


class ToySettings(TrainingSettings):
    width: int
    fault: str


class ToyNetwork(nn.Module):
    def __init__(self, scale: int, width: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(1, width * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width + 1, 1, 3, padding=1)

    def forward(self, auxiliary: Tensor, low: Tensor) -> Tensor:
        return self.last(torch.cat((self.norm(self.up(low)).relu(), auxiliary), dim=1))


class ToyNet(TorchMethod):
    Settings = ToySettings

    def build_network(self) -> nn.Module:
        return ToyNetwork(self.scale, self.settings.width)

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch.auxiliary_magnitude[:, None], batch.target_lr_magnitude[:, None])[:, 0]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        if self.settings.fault == "raise":
            raise RuntimeError("the toy fails on purpose")
        if self.settings.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        loss = self.pixel_loss(output, batch.target_magnitude)
        return loss * float("nan") if self.settings.fault == "nan" else loss
