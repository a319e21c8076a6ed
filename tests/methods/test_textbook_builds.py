"""Every trained method computes what a textbook build of it computes: prediction, loss, gradient and a step of Adam, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import textbook
import torch
from textbook_weights import copy_weights, images_of, pairs
from torch import Tensor

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method

SCALE = 4
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in textbook.NAMES),
    ("lyu", {"pixel_only": False, "adversarial_weight": 1.0, "critic_width": 2}),
    ("mcmrsr", {"drop_path": 0.3, "kspace_weight": 1e-4, "patch": 0}),
]


def batch(h: int, w: int) -> Batch:
    """Two random complex slices, h x w pixels at LR, in float64."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, 2, SCALE * h, SCALE * w)
    target, auxiliary = torch.randn(shape, dtype=torch.complex128, generator=generator) + 3
    low, auxiliary_low = (MCSR_1.degrade(image, SCALE) for image in (target, auxiliary))
    return Batch.of(low, auxiliary, auxiliary_low, target=target, scale=SCALE, protocol=MCSR_1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_it_agrees_with_the_textbook(name: str, changes: dict[str, Any]) -> None:
    method = load_method(name, SCALE, "smoke", **changes)
    assert isinstance(method, TorchMethod)
    build = textbook.build(name, SCALE, method.settings.model_dump()).double()
    torch.manual_seed(0)
    for module in method.training_modules().values():
        module.double().train()
        for p in module.parameters():  # what starts at 0 (gates, biases) would hide what it multiplies
            p.data += 0.05 * torch.randn_like(p)
    copy_weights(method, build)
    data, update = batch(16, 24) if name == "mcmrsr" else batch(8, 12), Updater(method)
    images = images_of(data)
    build.optimiser()

    expected = build.predict(images)
    assert expected.std() > 0
    assert relative(method.predict(data.without_target()), expected) < 1e-5

    losses = []
    for step in (lambda: method.training_step(data, update)["loss"], lambda: build.step(images)):
        torch.manual_seed(2)  # of stochastic depth and of the gradient penalty
        for module in method.training_modules().values():
            module.train()
        losses.append(step())
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    gradients = [(ours.grad, theirs.grad) for ours, theirs in pairs(method, build)]
    largest = max(theirs.norm() for _, theirs in gradients if theirs is not None)
    for ours, theirs in gradients:
        assert ours is not None
        assert theirs is not None
        # Of some weights the gradient is 0 but for rounding: the bias of keys, and of what is normalised next.
        assert (ours - theirs).norm() <= 1e-5 * max(theirs.norm(), 1e-6 * largest)

    assert relative(method.predict(data.without_target()), build.predict(images)) < 1e-5
