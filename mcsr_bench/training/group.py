"""Processes that train one network together, each with an equal share of every batch.

Each process holds the network and makes the same updates: before an update the gradients are averaged over the group, which for a
loss that is a mean over slices is the gradient of the whole batch. (torch.distributed; its DistributedDataParallel would have to
be called in place of the network, which methods call as they like.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed

from mcsr_bench.plugin.batch import Batch

_PATIENCE = timedelta(days=1)
"""For the others while the first process validates; one that dies is noticed at once."""


class Group:
    """This process among ``size``; one alone averages nothing and waits for nobody."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        """rank: 0 for the first, which alone validates and writes."""
        self.rank = rank
        self.size = size

    @property
    def first(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0

    def shares(self, batch: Batch) -> bool:
        """Whether a batch is divided: into equal parts alone, so that their mean is that of all slices."""
        return self.size > 1 and len(batch) % self.size == 0

    def share(self, batch: Batch) -> Batch:
        """This process's part of a batch; all of one that is not divided, which every process then computes."""
        if not self.shares(batch):
            return batch
        n = len(batch) // self.size
        return batch[self.rank * n : (self.rank + 1) * n]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the group; all processes give tensors of equal types and shapes in equal order."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for alike in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            distributed.all_reduce(flat)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def averaged(self, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, each its mean over the group."""
        if self.size == 1:
            return dict(numbers)
        means = {name: value.clone() for name, value in numbers.items()}
        self.average(means.values())
        return means

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(rank: int, size: int, folder: Path, device: torch.device | str) -> Iterator[Group]:
    """Be one of a group while the block runs; folder: an empty one of this machine, the same for all."""
    gpu = torch.device(device).type == "cuda"
    if gpu:
        torch.cuda.set_device(device)
    elif sys.platform == "linux":  # processes of one machine: gloo need not find out how the machine is called
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = distributed.FileStore(str(folder / "group"), size)
    distributed.init_process_group(
        "nccl" if gpu else "gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        yield Group(rank, size)
    finally:
        distributed.destroy_process_group()
