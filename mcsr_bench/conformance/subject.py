"""The method under test, in the states that the checks share."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.loading import SMOKE, check_method, method_of, preset_values
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.plugin.predicted import by_role
from mcsr_bench.plugin.registry import methods

from .outcome import fail
from .synthetic import smooth_batch

STEPS = 10
"""Of the training that the checks look at."""


@dataclass
class Subject:
    """A method by name; what is built once is kept for the checks that follow."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes of preset ``smoke``."""
    _perturbed: dict[int, Method] = field(default_factory=dict)

    @cached_property
    def card(self) -> MethodCard:
        """Its card. UserError when the plugin is disabled."""
        return methods().card(self.name)

    def refuse_bad_arguments(self) -> None:
        """UserError for a setting that a method which can be loaded does not take: that is not its failure."""
        if not self.settings:
            return
        try:
            check_method(self.name, self.scale, SMOKE, {})
        except Exception:  # the check "loads" will fail
            return
        check_method(self.name, self.scale, SMOKE, dict(self.settings))

    @property
    def scales(self) -> tuple[int, ...]:
        """All scales of the card, the cheapest first."""
        return tuple(sorted(self.card.scales))

    @property
    def scale(self) -> int:
        """The scale of checks that need only one."""
        return self.scales[0]

    def lr_side(self, scale: int) -> int:
        """LR pixels per side of a square image that the method accepts and that is as small as can be."""
        least = max(8, -(-self.card.smoke_size // scale))
        return -(-least // self.card.size_multiple) * self.card.size_multiple

    def lr_shapes(self, scale: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """A square LR image and one that is wider than high, by the smallest step that the card allows."""
        side = self.lr_side(scale)
        return (side, side), (side, side + self.card.size_multiple)

    def load(self, scale: int | None = None, seed: int = 0, **changes: Any) -> Method:
        """A fresh method at preset ``smoke``; changes of settings that it does not have are left out."""
        values = preset_values(self.card, SMOKE, scale or self.scale)
        known = {key: value for key, value in changes.items() if key in values}
        return method_of(self.name, scale or self.scale, SMOKE, {**self.settings, **known}, seed=seed)

    def trainable(self, scale: int | None = None, seed: int = 0) -> Method:
        """A fresh method whose training takes `STEPS` steps."""
        return self.load(scale, seed, budget=STEPS, budget_unit="steps", validations=1)

    def perturbed(self, scale: int | None = None) -> Method:
        """A method all of whose weights and buffers were moved by noise: what a gate at 0 hides is seen. Do not train it."""
        chosen = scale or self.scale
        if chosen not in self._perturbed:
            method = self.load(chosen)
            if isinstance(method, TorchMethod):
                for i, module in enumerate(method.training_modules().values()):
                    perturb(module, seed=i)
            self._perturbed[chosen] = method
        return self._perturbed[chosen]

    def batch(self, n: int = 1, seed: int = 0) -> Batch:
        """Square slices at `scale`, for predicting."""
        side = self.lr_side(self.scale)
        return smooth_batch(n, (side, side), self.scale, seed)

    def predict(self, batch: Batch, method: Method | None = None, seed: int = 0) -> dict[str, Tensor]:
        """What a method (default: the perturbed one) predicts, by contrast, with every global source of randomness seeded."""
        chosen = self.perturbed(batch.scale) if method is None else method
        with seeded(seed):
            output = chosen.predict(batch)
        try:
            return by_role(self.name, output)
        except ValueError as error:
            fail(str(error))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, numpy's and torch's global generators seeded, and put back as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - a plugin may use the global state
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest difference over both contrasts, relative to the largest magnitude of ``one``; infinite when not comparable."""
    if one.keys() != two.keys():
        return float("inf")
    worst = 0.0
    for name, a in one.items():
        b = two[name]
        if a.shape != b.shape or a.is_complex() != b.is_complex():
            return float("inf")
        difference = float((a - b).abs().max()) / max(float(a.abs().max()), 1e-30)
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether two mappings of tensors are equal, bit for bit."""
    return one.keys() == two.keys() and all(torch.equal(a, two[name]) for name, a in one.items())


def perturb(module: nn.Module, seed: int) -> None:
    """Noise on every parameter, and on every buffer that is saved, of about a third of a usual initialisation.

    Matrices and kernels get noise that keeps the size of what they multiply; buffers only grow, so that a variance stays positive.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor, size: float) -> Tensor:
        values = torch.randn(like.shape, generator=generator, dtype=torch.complex64 if like.is_complex() else None)
        return (size * values).to(like)

    saved = module.state_dict()
    with torch.no_grad():
        for p in module.parameters():
            inputs = p[0].numel() if p.ndim > 1 else 0
            p.add_(noise(p, 0.5 / inputs**0.5 if inputs else 0.1))
        for name, b in module.named_buffers():
            if name in saved and (b.is_floating_point() or b.is_complex()):
                b.add_(noise(b, 0.1).abs().to(b.dtype))
