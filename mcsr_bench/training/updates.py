"""How a step of training changes weights, and the numbers that it leaves to be logged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mcsr_bench.plugin.method import TorchMethod

from .group import Group


class Updater:
    """An `mcsr_bench.Update`: the optimisers of a method."""

    def __init__(self, method: TorchMethod, group: Group | None = None) -> None:
        """group: over which gradients are averaged."""
        self._group = group or Group()
        self.optimizers = method.configure_optimizers()
        self._method = method.card.name

    def __call__(self, name: str, loss: Tensor) -> None:
        """As described in `Update`."""
        if name not in self.optimizers:
            known = ", ".join(self.optimizers) or "none"
            raise ValueError(f"{self._method}: update('{name}', ...), but configure_optimizers gives: {known}")
        if not isinstance(loss, Tensor) or loss.ndim:
            raise ValueError(
                f"{self._method}: the loss of update('{name}', ...) is {_described(loss)}, not a scalar tensor"
            )
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(loss.device.type, enabled=False):  # each gradient has the type that its value had
            loss.backward()
        parameters = (p for of in optimizer.param_groups for p in of["params"])
        self._group.average(p.grad for p in parameters if p.grad is not None)
        optimizer.step()


def checked_numbers(method: TorchMethod, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `TorchMethod.training_step` gave to be logged, without graph.

    ValueError, which names method and entry, when there is no "loss" or one is not a real scalar tensor.
    """
    if "loss" not in numbers:
        raise ValueError(f"{method.card.name}: training_step gave no 'loss', but: {', '.join(numbers) or 'nothing'}")
    for name, value in numbers.items():
        if not isinstance(value, Tensor) or value.ndim or value.is_complex():
            raise ValueError(
                f"{method.card.name}: training_step gave {_described(value)} as '{name}', not a real scalar tensor"
            )
    return {name: value.detach() for name, value in numbers.items()}


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"


class Sums:
    """Of the logged numbers since the last row, in float64 and on the device, where adding to them waits for nothing."""

    def __init__(self, device: torch.device, sums: Mapping[str, float], count: int) -> None:
        self._device = device
        self._totals = {name: torch.tensor(value, dtype=torch.float64, device=device) for name, value in sums.items()}
        self._unsound_at: dict[str, Tensor] = {}
        """The first step at which a number was not finite; 0: none."""
        self._none = torch.zeros((), dtype=torch.int64, device=device)
        self._count = count

    def add(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """The numbers of a step (from 1)."""
        for name, number in numbers.items():
            value = number.to(self._device, torch.float64)
            self._totals[name] = value + self._totals.get(name, 0.0)
            before = self._unsound_at.get(name, self._none)
            self._unsound_at[name] = torch.where(value.isfinite() | (before > 0), before, step)
        self._count += 1

    def fetch(self) -> tuple[dict[str, float], int, dict[str, int]]:
        """The sums, over how many steps, and by name the first step at which a number was not finite, if it was at any."""
        values = torch.stack([*self._totals.values(), *(step.double() for step in self._unsound_at.values())]).tolist()
        n = len(self._totals)
        unsound = {name: int(step) for name, step in zip(self._unsound_at, values[n:], strict=True) if step}
        return dict(zip(self._totals, values[:n], strict=True)), self._count, unsound


def not_finite(method: TorchMethod, unsound: Mapping[str, int], rates: set[float]) -> FloatingPointError:
    """The error that names which numbers were the first that were not finite, when, and at which learning rates."""
    step = min(unsound.values())
    names = ", ".join(name for name, at in unsound.items() if at == step)
    at = ", ".join(f"{rate:g}" for rate in sorted(rates))
    return FloatingPointError(f"{method.card.name}: not finite at step {step}, at learning rate {at}: {names}")
