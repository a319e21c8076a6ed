"""EDSR: sizes and costs against the published ones, layers against a hand count, and that it is single-contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.nn import EDSRNetwork
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method

SCALES = (2, 3, 4, 8)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def loaded(scale: int = 2, **settings: Any) -> TorchMethod:
    method = load_method("edsr", scale, "quick", **{"width": 8, "blocks": 2, **settings})
    assert isinstance(method, TorchMethod)
    return method


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6)) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, auxiliary = torch.randn(2, 2, *shape, dtype=torch.complex64, generator=generator)
    lr, auxiliary_lr = protocol.degrade(target, scale), protocol.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, target=target)


@pytest.mark.parametrize(
    ("scale", "blocks", "width", "parameters", "giga_macs"),
    [
        (2, 32, 256, 40_720_385, 1042.16),
        (4, 32, 256, 43_080_705, 321.11),
        (2, 16, 64, 1_367_553, 34.99),
        (4, 16, 64, 1_515_265, 12.57),
        (2, 4, 64, 481_281, 12.34),
        (4, 4, 64, 628_993, 6.90),
    ],
)
def test_published_size_and_cost(scale: int, blocks: int, width: int, parameters: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = EDSRNetwork(scale, width=width, blocks=blocks)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 320 // scale, 320 // scale))
    assert count(network) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.001)


def test_hand_count_of_layers() -> None:
    width, blocks = 8, 3
    inner = 9 * width * width + width
    head, body = 9 * width + width, blocks * 2 * inner + inner
    tail = 2 * (9 * width * 4 * width + 4 * width) + 9 * width + 1
    assert count(EDSRNetwork(4, width=width, blocks=blocks)) == head + body + tail


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("edsr")
    fields = methods().load("edsr").Settings.model_fields
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
        assert card.presets[preset].keys() == fields.keys()
        for scale in SCALES:
            with torch.device("meta"):
                method = load_method("edsr", scale, preset)
            assert isinstance(method, TorchMethod)
            assert count(method.network) == sizes[f"x{scale}"]


@pytest.mark.parametrize("scale", SCALES)
def test_any_shape(scale: int) -> None:
    batch = make_batch(scale, (5, 7))
    prediction = loaded(scale).predict(batch.without_target())
    assert isinstance(prediction, torch.Tensor)
    assert prediction.shape == (2, 5 * scale, 7 * scale)
    assert prediction.isfinite().all()


def test_the_skip_adds_the_head_before_upsampling() -> None:
    """With a silenced body the network is tail(head(x))."""
    network = EDSRNetwork(2, width=4, blocks=1)
    last = network.body[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    x = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(network(x), network.tail(network.head(x)))


def test_it_is_single_contrast_and_never_needs_the_target() -> None:
    method, batch = loaded(), make_batch()
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, torch.Tensor)
    other = method.predict(replace(batch, auxiliary=torch.randn_like(batch.auxiliary), target=None))
    assert isinstance(other, torch.Tensor)
    assert torch.equal(prediction, other)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_loss_by_hand(loss: str) -> None:
    method, batch = loaded(loss=loss), make_batch()
    assert batch.target is not None
    low = batch.target_lr.abs().double()
    mean, std = low.mean((1, 2), keepdim=True), low.std((1, 2), keepdim=True)
    difference = 0.5 - (batch.target.abs().double() - mean) / std
    expected = difference.abs().mean() if loss == "l1" else (difference**2).mean()
    assert method.loss(torch.full(batch.target.shape, 0.5), batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_lowers_the_loss_and_reaches_every_parameter() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    losses = [method.training_step(batch, update)["loss"] for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.network.parameters())
