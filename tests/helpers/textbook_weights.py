"""Between the suite's methods and their textbook builds: the same weights, and the same batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from textbook import Build, Images
from torch import nn

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod


def pairs(method: TorchMethod, build: Build) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of both, one by one: both build their layers in the order in which the paper lists them."""
    ours = [p for module in method.training_modules().values() for p in module.parameters()]
    theirs = list(build.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    return zip(ours, theirs, strict=True)


def copy_weights(method: TorchMethod, build: Build) -> None:
    """Give the textbook build the weights of the suite's method."""
    with torch.no_grad():
        for ours, theirs in pairs(method, build):
            theirs.copy_(ours)


def images_of(batch: Batch) -> Images:
    """A batch with target, as the textbook builds get it."""
    assert batch.target is not None
    return Images(
        batch.target_lr,
        batch.auxiliary,
        batch.auxiliary_lr,
        batch.target,
        *batch.target_statistics,
        *batch.auxiliary_statistics,
    )
