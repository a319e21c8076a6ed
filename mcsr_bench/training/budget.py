"""How many steps a budget is, and what one of them costs.

Methods whose budget is training compute get steps by their cost: a cheap network trains longer. What a step costs is in the card,
and counted where settings differ from it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import preset_values
from mcsr_bench.plugin.method import TorchMethod, TrainingData, TrainingSettings
from mcsr_bench.protocol import MCSR_1

WHOLE_SLICE = 256
"""HR pixels per side at which a step is counted that trains on whole slices."""

_WITHOUT_COST = frozenset(TrainingSettings.model_fields) - {"batch_size", "patch"}
"""Settings that do not change what a step costs."""


def training_steps(method: TorchMethod, steps_per_epoch: int) -> int:
    """The budget of a method in steps; at least one."""
    settings: TrainingSettings = method.settings
    if settings.budget_unit == "teraflop":
        return max(1, round(settings.budget * 1e12 / step_flop(method)))
    return int(settings.budget) * (steps_per_epoch if settings.budget_unit == "epochs" else 1)


def training_profile(method: TorchMethod, data: TrainingData) -> dict[str, float]:
    """What a training is: steps, training_flop, training_pixels (HR pixels of targets, repetitions counted).

    Without training_flop where a network cannot run on torch's meta device. A patch that is larger than the slices counts as set.
    """
    settings: TrainingSettings = method.settings
    per_epoch = data.steps_per_epoch(settings.batch_size)
    try:
        flop = float(step_flop(method))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        if settings.budget_unit == "teraflop":
            raise
        flop = math.nan
    steps = training_steps(method, per_epoch)
    of_a_slice = (settings.patch * method.scale) ** 2 if settings.patch else data.n_train_pixels / data.n_train_slices
    found = {
        "steps": float(steps),
        "training_flop": steps * flop,
        "training_pixels": steps / per_epoch * data.n_train_slices * of_a_slice,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def step_flop(method: TorchMethod) -> int:
    """FLOP of one training step: what the card says of a preset with these settings, otherwise counted."""
    card, settings = method.card, method.settings.model_dump(mode="json")
    for preset, by_scale in card.training_flop.items():
        standard = preset_values(card, preset, method.scale)
        same = all(settings[key] == value for key, value in standard.items() if key not in _WITHOUT_COST)
        if same and f"x{method.scale}" in by_scale:
            return by_scale[f"x{method.scale}"]
    return counted_step_flop(method)


def counted_step_flop(method: TorchMethod) -> int:
    """FLOP of one `TorchMethod.training_step` with the batch and patch of the settings, forward and backward.

    Twice the multiply-accumulates of convolutions and matrix products (torch.utils.flop_counter), of all networks that the step
    updates. Counted on torch's meta device, where nothing is computed: on a CPU the counter misses attention.
    """
    settings: TrainingSettings = method.settings
    with torch.device("meta"):
        twin = type(method)(method.card, method.scale, settings)
    side = (settings.patch or WHOLE_SLICE // method.scale) * method.scale
    for module in twin.training_modules().values():
        module.train()
    with _Flop() as counter:
        twin.training_step(_meta_batch(twin, side, settings.batch_size), _backward)
    return counter.total


class _Flop(TorchDispatchMode):
    """Adds up torch's formulas for every operator. (torch's own counter fails where a loss contains a gradient, as in a GAN.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def _backward(name: str, loss: Tensor) -> None:
    """An `Update` that changes no weight: an optimiser's step is not counted."""
    loss.backward()


def _meta_batch(method: TorchMethod, side: int, batch_size: int) -> Batch:
    def images(pixels: int) -> Tensor:
        return torch.empty((batch_size, pixels, pixels), dtype=torch.complex64, device="meta")

    low, high = images(side // method.scale), images(side)
    return Batch.of(low, high, low, target=high, scale=method.scale, protocol=MCSR_1, joint=method.joint)
