"""The devices of this machine: which one computes, and how many workers share it."""

from __future__ import annotations

import os
import platform
from functools import cache

from mcsr_bench.errors import UserError

DEVICES = ("auto", "cpu", "cuda")
"""What ``--device`` allows."""
_NO_MPS = (
    "is not supported: on Apple's GPUs PyTorch lacks float64 and parts of complex arithmetic, and no scores computed there have "
    "been compared with those of a CPU; --device cpu works on a Mac"
)


@cache
def gpu_count() -> int:
    """How many CUDA devices torch sees; asked once per process."""
    import torch  # not before something computes: listing must not wait for it

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def chosen_device(asked: str) -> str:
    """ "cpu" or "cuda" for ``--device auto|cpu|cuda``; "auto" never takes Apple's GPU.

    UserError for another word, for "mps", with the reason, or a GPU that is not there.
    """
    if asked == "mps":
        raise UserError(f"--device mps: {_NO_MPS}")
    if asked not in DEVICES:
        raise UserError(f"--device {asked}: allowed are {', '.join(DEVICES)}")
    if asked == "auto":
        return "cuda" if gpu_count() else "cpu"
    if asked == "cuda" and not gpu_count():
        raise UserError("--device cuda: torch sees no CUDA device on this machine")
    return asked


def default_jobs(device: str) -> int:
    """Workers where the user names no number: one per core that this process may use; on GPUs one per GPU."""
    return max(1, gpu_count()) if device.startswith("cuda") else core_count()


def core_count() -> int:
    """The cores that this process may use, 1 or more, on every system."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13 and later
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_of(device: str, slot: int) -> str:
    """The device of the worker in a slot (0, 1, ...): "cuda" becomes one GPU, round about; anything else stays."""
    return f"cuda:{slot % max(1, gpu_count())}" if device == "cuda" else device


@cache
def device_name(device: str) -> str:
    """A device for the record: "cpu x86_64", or the GPU's name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(torch.device(device))
    return f"cpu {platform.machine()}"
