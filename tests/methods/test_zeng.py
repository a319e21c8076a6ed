"""Zeng 2018: size and cost against the facts, layers by hand, both outputs supervised, the body shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.conformance.synthetic import SyntheticData
from mcsr_bench.methods.zeng import Zeng
from mcsr_bench.methods.zeng.network import ZengNetwork
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Loop, Updater
from mcsr_bench.weights.loading import load_method

FACTORS = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
"""Of the up-sampling steps, per scale."""


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def hand_count(scale: int, width: int, blocks: int, *, share_body: bool) -> int:
    """Weights and biases from the layer list."""

    def layer(inputs: int, outputs: int, kernel: int = 3) -> int:
        return kernel**2 * inputs * outputs + outputs

    heads = layer(1, width, 5) + layer(2, width, 5)
    body = (2 * blocks + 1) * layer(width, width)
    tails = sum(layer(width, width * f**2) for f in FACTORS[scale]) + 2 * layer(width, 1)
    return heads + (body if share_body else 2 * body) + tails


def perturb(module: nn.Module) -> None:
    """Noise on every parameter, so that no special initial value hides anything."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))


def loaded(scale: int = 2, **settings: Any) -> Zeng:
    method = load_method("zeng", scale, "quick", **{"width": 4, "blocks": 2, **settings})
    assert isinstance(method, Zeng)
    return method


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6)) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, auxiliary = torch.randn(2, 3, *shape, dtype=torch.complex64, generator=generator)
    lr, auxiliary_lr = protocol.degrade(target, scale), protocol.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, target=target)


@pytest.mark.parametrize(
    ("scale", "width", "blocks", "share", "parameters", "giga_macs"),
    [
        (2, 64, 16, True, 1_372_418, 159.98),
        (4, 64, 16, True, 1_520_130, 137.53),
        (2, 64, 32, True, 2_554_114, 310.97),
        (4, 64, 32, False, 5_102_146, 265.88),
        (2, 64, 16, False, 2_591_042, 159.98),
        (2, 256, 32, True, 40_739_842, 4969.7),
        (4, 256, 32, True, 43_100_162, 4248.6),
    ],
)
def test_size_and_cost_of_the_facts(
    scale: int, width: int, blocks: int, share: bool, parameters: int, giga_macs: float
) -> None:
    with torch.device("meta"):
        network = ZengNetwork(scale, width=width, blocks=blocks, share_body=share)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 320 // scale, 320 // scale), torch.empty(1, 1, 320, 320))
    assert count(network) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.001)


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("zeng")
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
        assert card.presets[preset].keys() == methods().load("zeng").Settings.model_fields.keys()
        for scale in card.scales:
            with torch.device("meta"):
                method = load_method("zeng", scale, preset)
            assert isinstance(method, Zeng)
            s = method.settings
            by_hand = hand_count(scale, s.width, s.blocks, share_body=s.share_body)
            assert count(method.network) == sizes[f"x{scale}"] == by_hand


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_any_shape(scale: int) -> None:
    method, batch = loaded(scale), make_batch(scale, (5, 7)).without_target()
    prediction = method.predict(batch)
    assert isinstance(prediction, torch.Tensor)
    assert prediction.shape == (3, 5 * scale, 7 * scale)
    assert prediction.dtype == torch.float32
    assert prediction.isfinite().all()
    assert method.maps(batch)["single_contrast"].shape == prediction.shape


def test_the_first_output_ignores_the_auxiliary_and_the_second_builds_on_it() -> None:
    network = ZengNetwork(2, width=4, blocks=1)
    low, auxiliary = torch.randn(1, 1, 6, 6), torch.randn(2, 1, 1, 12, 12)
    (multi_a, single_a), (multi_b, single_b) = network(low, auxiliary[0]), network(low, auxiliary[1])
    assert torch.equal(single_a, single_b)
    assert not torch.allclose(multi_a, multi_b)
    # With a silenced body the second stage is two convolutions of [first image, auxiliary].
    last = network.multi_body[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    multi, single = network(low, auxiliary[0])
    torch.testing.assert_close(multi, network.multi_tail(network.multi_head(torch.cat((single, auxiliary[0]), 1))))


def test_one_body_serves_both_stages_unless_told_otherwise() -> None:
    shared, own = (ZengNetwork(2, width=4, blocks=1, share_body=share) for share in (True, False))
    assert shared.multi_body is shared.single_body
    assert own.multi_body is not own.single_body


@pytest.mark.parametrize(("loss", "weight"), [("l1", 1.0), ("l2", 0.25)])
def test_loss_by_hand(loss: str, weight: float) -> None:
    method, batch = loaded(loss=loss, stage1_weight=weight), make_batch()
    assert batch.target is not None
    low = np.abs(batch.target_lr.numpy()).astype(np.float64)
    mean, std = low.mean((1, 2), keepdims=True), low.std((1, 2), ddof=1, keepdims=True)
    target = (np.abs(batch.target.numpy()) - mean) / std
    multi, single = torch.full(batch.target.shape, 0.5), torch.full(batch.target.shape, -0.25)
    power = 1 if loss == "l1" else 2
    expected = np.mean(np.abs(0.5 - target) ** power) + weight * np.mean(np.abs(-0.25 - target) ** power)
    assert method.loss((multi, single), batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_prediction_is_the_multi_contrast_output_in_physical_units() -> None:
    method, batch = loaded(), make_batch()
    method.network.eval()
    with torch.no_grad():
        multi, _ = method.network(batch.target_lr_magnitude[:, None], batch.auxiliary_magnitude[:, None])
    mean, std = batch.target_statistics
    expected = (multi[:, 0] * std[:, None, None] + mean[:, None, None]).clamp_min(0)
    torch.testing.assert_close(method.predict(batch.without_target()), expected)
    other = replace(batch.without_target(), auxiliary=torch.roll(batch.auxiliary, 3, -1))
    assert not torch.allclose(torch.as_tensor(method.predict(other)), expected)


def test_the_map_is_the_single_contrast_output_in_physical_units() -> None:
    method, batch = loaded(), make_batch()
    mean, std = (x[:, None, None] for x in batch.target_statistics)
    low = (batch.target_lr.abs() - mean) / std
    with torch.no_grad():
        head = method.network.single_head(low[:, None])
        single = method.network.single_tail(head + method.network.single_body(head))[:, 0]
    changed = replace(batch.without_target(), auxiliary=torch.roll(batch.auxiliary, 3, -1))
    for given in (batch.without_target(), changed):
        torch.testing.assert_close(method.maps(given)["single_contrast"], (single * std + mean).clamp_min(0))


def test_the_multi_contrast_loss_trains_the_first_stage_too() -> None:
    """Its image is not detached: with no weight of its own, its own up-sampler still gets a gradient."""
    method, batch = loaded(stage1_weight=0.0), make_batch()
    method.loss(method.forward(batch), batch).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.network.single_tail.parameters())


@pytest.mark.parametrize("share_body", [True, False])
def test_gradient_reaches_every_parameter(share_body: bool) -> None:
    method, batch = loaded(share_body=share_body), make_batch()
    perturb(method.network)
    method.loss(method.forward(batch), batch).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.network.parameters())


def test_training_lowers_the_loss() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    losses = [method.training_step(batch, update)["loss"] for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]


def test_ten_steps_of_the_training_loop(tmp_path: Path) -> None:
    method = load_method("zeng", 2, "smoke")
    before = {name: tensor.clone() for name, tensor in method.state().items()}
    method.train(SyntheticData(2, 16), Loop(tmp_path, seed=0))
    log = pd.read_csv(tmp_path / "training.csv")
    assert log["step"].iloc[-1] == 10
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    assert np.isfinite(log["validation_psnr"].iloc[-1])
    assert all(not torch.equal(before[name], tensor) for name, tensor in method.state().items())
