"""What a planned trial computes with: its method and its slices, on its device."""

from __future__ import annotations

import torch
from torch import nn

from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.store import open_store
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import get_protocol


def method_and_slices(spec: TrialSpec) -> tuple[Method, Sampler]:
    """The untrained method on the trial's device, and the slices of its data set."""
    method = method_of(spec.method, spec.scale, spec.preset, spec.settings, seed=spec.seed)
    if isinstance(method, TorchMethod):
        method.to(spec.device)
    protocol = get_protocol(spec.protocol)
    split = Split(**spec.split)
    return method, Sampler(open_store(spec.data.store), split, protocol, spec.seed, joint=method.joint)


def place_slices(sampler: Sampler, how: str, device: str) -> int:
    """Hold the training slices on a device as ``--resident`` says; returns how many bytes of it they take, 0: none are there.

    UserError where they were asked to be there, and do not fit.
    """
    needed = sampler.n_train_bytes
    gpu = device.startswith("cuda")
    if how == "no" or (how == "auto" and not gpu):
        return 0
    if gpu:
        free = torch.cuda.mem_get_info(device)[0]
        if how == "auto" and needed > free / 2:
            return 0
        if needed > free:
            raise UserError(
                f"--resident yes: the training slices take {needed / 1e9:.1f} GB, and of the GPU {free / 1e9:.1f} GB are free; "
                "auto or no reads them from the store"
            )
    sampler.keep_on(device)
    return needed


def synchronise_batch_norm(method: TorchMethod) -> None:
    """Have batch normalisation see the slices of all GPUs of a group."""
    for module in method.training_modules().values():
        nn.SyncBatchNorm.convert_sync_batchnorm(module)


def has_batch_norm(method: TorchMethod) -> bool:
    """Whether a training step depends on which slices are computed together."""
    modules = (part for module in method.training_modules().values() for part in module.modules())
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in modules)
