"""What a method costs, whatever it was trained on: parameters and arithmetic, counted without memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.protocol import MCSR_1

SIZE = 320
"""HR pixels per side at which the paper counts."""


_FREE = frozenset(
    """empty zeros ones full new_zeros new_empty_strided empty_like zeros_like ones_like arange detach clone copy_ _to_copy
    contiguous lift_fresh fill_ zero_ cat stack constant_pad_nd index gather roll flip slice_scatter view_as_real view_as_complex
    scalar_tensor linspace empty_strided where masked_fill eye _unsafe_view pixel_shuffle""".split()  # noqa: SIM905
)
"""Operators that move or make data and compute nothing."""


@dataclass(frozen=True)
class Cost:
    """Of one method at one scale and preset."""

    parameters: int
    """Of the networks that predict, all of them."""
    trainable_parameters: int
    """Those that get a gradient."""
    dead_parameters: int
    """Those that get none: named in the card, in the network for the sake of its published size."""
    macs: int
    """Multiply-accumulates of one prediction of one slice: convolutions and matrix products (torch.utils.flop_counter)."""
    flops: int
    """2 x macs."""
    uncounted: tuple[str, ...]
    """Operators that computed something and are not in macs (FFTs, norms, activations, interpolation ...), sorted."""
    size: int
    """HR pixels per side."""


def cost(
    name: str, scale: int, preset: str = "paper", *, size: int = SIZE, settings: Mapping[str, Any] | None = None
) -> Cost | None:
    """Count a method's parameters and arithmetic at batch 1; None for a method that has no network.

    Raises UserError for an unknown name, preset, scale or setting. Nothing is allocated or computed: every tensor is on torch's
    meta device, so any size is counted in a second.
    """
    with torch.device("meta"):
        method = method_of(name, scale, preset, settings or {})
    if not isinstance(method, TorchMethod):
        return None
    batch = synthetic_batch(scale, size, device="meta", joint=method.joint).without_target()
    method.network.eval()
    with _Operators() as seen, FlopCounterMode(display=False) as counter, torch.no_grad():
        method.forward(batch)
    total = sum(p.numel() for p in method.network.parameters())
    dead = dead_parameters(method)
    return Cost(
        parameters=total,
        trainable_parameters=sum(p.numel() for p in method.network.parameters() if p.requires_grad) - dead,
        dead_parameters=dead,
        macs=counter.get_total_flops() // 2,
        flops=counter.get_total_flops(),
        uncounted=tuple(sorted(seen.names)),
        size=size,
    )


def dead_parameters(method: TorchMethod) -> int:
    """How many parameters the card declares to get no gradient at this scale."""
    patterns = method.card.dead_at(method.scale)
    named = method.network.named_parameters()
    return sum(p.numel() for name, p in named if any(fnmatchcase(name, pattern) for pattern in patterns))


def synthetic_batch(
    scale: int, size: int, *, batch_size: int = 1, device: torch.device | str = "cpu", joint: bool = False
) -> Batch:
    """Slices of complex noise (seeded), with target: for counting and timing, not for scoring."""
    device = torch.device(device)

    def images(seed: int, pixels: int) -> torch.Tensor:
        shape = (batch_size, pixels, pixels)
        if device.type == "meta":
            return torch.empty(shape, dtype=torch.complex64, device=device)
        noise = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
        return (noise + 3).to(device)

    low = size // scale
    return Batch.of(
        target_lr=images(0, low),
        auxiliary=images(1, size),
        auxiliary_lr=images(2, low),
        target=images(3, size),
        scale=scale,
        protocol=MCSR_1,
        joint=joint,
    )


class _Operators(TorchDispatchMode):
    """Collects the operators that compute something and that the counter does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        name = str(packet).removeprefix("aten.")
        if packet not in flop_registry and not func.is_view and name not in _FREE:
            self.names.add(name)
        return func(*args, **(kwargs or {}))
