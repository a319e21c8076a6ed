"""SMORE: size and cost against the facts, the anti-aliasing target against numpy, which loss trains which network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.loading import load_method
from mcsr_bench.method import Batch, TorchMethod
from mcsr_bench.methods.smore import SMORENetwork, anti_aliased
from mcsr_bench.protocol import get_protocol
from mcsr_bench.registry import methods


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def loaded(scale: int = 2, **settings: Any) -> TorchMethod:
    method = load_method("smore", scale, "quick", **{"width": 4, "blocks": 2, **settings})
    assert isinstance(method, TorchMethod)
    return method


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6)) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, aux = torch.randn(2, 3, *shape, dtype=torch.complex64, generator=generator) + 2
    lr, aux_lr = protocol.degrade(target, scale), protocol.degrade(aux, scale)
    return Batch.of(lr, aux, aux_lr, scale=scale, protocol=protocol, target=target)


@pytest.mark.parametrize(
    ("scale", "blocks", "width", "parameters", "giga_macs"),
    [
        (2, 32, 256, 79_080_450, 2023.7),
        (4, 32, 256, 81_440_770, 566.5),
        (2, 16, 64, 2_587_394, 66.2),
        (4, 16, 64, 2_735_106, 20.4),
    ],
)
def test_size_and_cost_of_the_facts(scale: int, blocks: int, width: int, parameters: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = SMORENetwork(scale, width=width, blocks=blocks, residual_factor=0.1, detach=True)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 320 // scale, 320 // scale))
    assert count(network) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.002)


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("smore")
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
        assert card.presets[preset].keys() == methods().load("smore").Settings.model_fields.keys()
        for scale in (2, 3, 4, 8):
            with torch.device("meta"):
                method = load_method("smore", scale, preset)
            assert isinstance(method, TorchMethod)
            assert count(method.network) == sizes[f"x{scale}"]


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_any_shape_and_never_the_auxiliary(scale: int) -> None:
    method, batch = loaded(scale), make_batch(scale, (5, 7)).without_target()
    prediction = method.predict(batch)
    assert isinstance(prediction, torch.Tensor)
    assert prediction.shape == (3, 5 * scale, 7 * scale)
    assert prediction.isfinite().all()
    other = method.predict(replace(batch, aux=torch.randn_like(batch.aux)))
    assert torch.equal(prediction, torch.as_tensor(other))


@pytest.mark.parametrize(("n", "taper"), [(8, 0.5), (7, 1.0), (6, 0.25)])
def test_the_anti_aliasing_target_is_a_tapered_low_pass_of_the_hr_image(n: int, taper: float) -> None:
    """From the HR image in numpy: window, then crop; ours starts from the truncated image."""
    scale, N = 3, 3 * n
    image = np.random.default_rng(0).normal(size=(N, N)) + 1j * np.random.default_rng(1).normal(size=(N, N))
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    distance = np.abs(np.arange(N) - N // 2) / (n / 2)
    window = np.where(distance <= 1 - taper, 1.0, 0.5 * (1 + np.cos(np.pi * (distance - 1 + taper) / taper)))
    window[distance >= 1] = 0
    start = N // 2 - n // 2
    low = (k * np.outer(window, window))[start : start + n, start : start + n]
    expected = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(low), norm="ortho")) / scale
    truncated = get_protocol("mcsr-1").degrade(torch.from_numpy(image)[None], scale)
    np.testing.assert_allclose(anti_aliased(truncated, taper)[0].numpy(), expected, atol=1e-6)


def test_the_taper_takes_ringing_away() -> None:
    edge = torch.zeros(1, 64, 64, dtype=torch.complex64)
    edge[:, 16:48, 16:48] = 1
    low = get_protocol("mcsr-1").degrade(edge, 2)
    far = (0, slice(None), slice(0, 4))  # columns without signal
    assert anti_aliased(low, 0.5)[far].abs().max() < 0.2 * low[far].abs().max()


def test_loss_by_hand() -> None:
    method, batch = loaded(loss="l2"), make_batch()
    assert batch.target is not None
    low = np.abs(batch.target_lr.numpy()).astype(np.float64)
    mean, std = low.mean((1, 2), keepdims=True), low.std((1, 2), ddof=1, keepdims=True)
    target = (np.abs(batch.target.numpy()) - mean) / std
    clean = (anti_aliased(batch.target_lr, 0.5).abs().numpy() - mean) / std
    output = torch.full(batch.target.shape, 0.5), torch.full(batch.target_lr.shape, -0.25)
    expected = np.mean((0.5 - target) ** 2) + np.mean((-0.25 - clean) ** 2)
    assert method.loss(output, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_the_second_network_sees_the_first_ones_output_and_trains_it_only_when_told(detach: bool) -> None:
    method, batch = loaded(detach=detach), make_batch()
    high, clean = method.network(batch.target_lr_magnitude[:, None])
    torch.testing.assert_close(high, method.network.super_resolution(clean))
    high.sum().backward()
    first = [p.grad for p in method.network.anti_aliasing.parameters()]
    assert all((g is None) == detach for g in first)


def test_training_lowers_the_loss_and_reaches_every_parameter() -> None:
    method, batch = loaded(), make_batch()
    optimizers = method.configure_optimizers()
    losses = [method.training_step(batch, optimizers)["loss"] for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.network.parameters())
