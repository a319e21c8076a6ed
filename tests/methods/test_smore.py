"""SMORE: size and cost against the facts, the anti-aliasing target against numpy, which loss trains which network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.conformance.synthetic import SyntheticData
from mcsr_bench.methods.smore import SMORE, SMORENetwork
from mcsr_bench.methods.smore.anti_aliasing import CleanBatch, CleanData, anti_aliased
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod, Update
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Loop, Updater
from mcsr_bench.weights.loading import load_method

FACTORS = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
"""Of the up-sampling steps, per scale."""


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def hand_count(scale: int, width: int, blocks: int) -> int:
    """Weights and biases from the layer list of two EDSR networks, the first without up-sampler."""

    def layer(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs

    edsr = layer(1, width) + (2 * blocks + 1) * layer(width, width) + layer(width, 1)
    return 2 * edsr + sum(layer(width, width * f**2) for f in FACTORS[scale])


def references(batch: Batch, taper: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In numpy: the normalised target (B, H, W) and, from it, the normalised anti-aliasing target (B, h, w); square slices."""
    assert batch.target is not None
    images, n = batch.target.numpy().astype(np.complex128), batch.target_lr.shape[-1]
    low = np.abs(batch.target_lr.numpy()).astype(np.float64)
    mean, std = low.mean((1, 2), keepdims=True), low.std((1, 2), ddof=1, keepdims=True)
    clean = np.abs([tapered(image, n, taper) for image in images])
    return (np.abs(images) - mean) / std, (clean - mean) / std


def perturb(module: nn.Module) -> None:
    """Noise on every parameter, so that no special initial value hides anything."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))


def tapered(image: NDArray[Any], n: int, taper: float) -> NDArray[np.complex128]:
    """In numpy: the (n, n) image from the centre of k-space of an image (N, N), tapered by a cosine, its amplitude kept."""
    N = len(image)
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    distance = np.abs(np.arange(N) - N // 2) / (n / 2)
    window = np.where(distance <= 1 - taper, 1.0, 0.5 * (1 + np.cos(np.pi * (distance - 1 + taper) / taper)))
    window[distance >= 1] = 0
    start = N // 2 - n // 2
    low = (k * np.outer(window, window))[start : start + n, start : start + n]
    image_low = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(low), norm="ortho"))
    return np.asarray(image_low * n / N, np.complex128)


def loaded(scale: int = 2, **settings: Any) -> SMORE:
    method = load_method("smore", scale, "quick", **{"width": 4, "blocks": 2, **settings})
    assert isinstance(method, SMORE)
    return method


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6)) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, auxiliary = torch.randn(2, 3, *shape, dtype=torch.complex64, generator=generator) + 2
    lr, auxiliary_lr = protocol.degrade(target, scale), protocol.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, target=target)


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
        for scale in card.scales:
            with torch.device("meta"):
                method = load_method("smore", scale, preset)
            assert isinstance(method, TorchMethod)
            by_hand = hand_count(scale, method.settings.width, method.settings.blocks)
            assert count(method.network) == sizes[f"x{scale}"] == by_hand


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_any_shape_and_never_the_auxiliary(scale: int) -> None:
    method, batch = loaded(scale), make_batch(scale, (5, 7)).without_target()
    prediction = method.predict(batch)
    assert isinstance(prediction, torch.Tensor)
    assert prediction.shape == (3, 5 * scale, 7 * scale)
    assert prediction.dtype == torch.float32
    assert prediction.isfinite().all()
    other = method.predict(replace(batch, auxiliary=torch.randn_like(batch.auxiliary)))
    assert torch.equal(prediction, torch.as_tensor(other))


@pytest.mark.parametrize(("n", "taper"), [(8, 0.5), (7, 1.0), (6, 0.25)])
def test_the_anti_aliasing_target_is_a_tapered_low_pass_of_the_hr_image(n: int, taper: float) -> None:
    """From the HR image in numpy: window, then crop; ours starts from the truncated image."""
    scale, N = 3, 3 * n
    image = np.random.default_rng(0).normal(size=(N, N)) + 1j * np.random.default_rng(1).normal(size=(N, N))
    truncated = get_protocol("mcsr-1").degrade(torch.from_numpy(image)[None], scale)
    np.testing.assert_allclose(anti_aliased(truncated, taper)[0].numpy(), tapered(image, n, taper), atol=1e-6)


def test_the_taper_takes_ringing_away() -> None:
    edge = torch.zeros(1, 64, 64, dtype=torch.complex64)
    edge[:, 16:48, 16:48] = 1
    low = get_protocol("mcsr-1").degrade(edge, 2)
    far = (0, slice(None), slice(0, 4))  # columns without signal
    assert anti_aliased(low, 0.5)[far].abs().max() < 0.2 * low[far].abs().max()


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_loss_by_hand(loss: str) -> None:
    """Both losses in numpy, the anti-aliasing target from the HR image."""
    method, batch = loaded(loss=loss), make_batch(2, (10, 10))
    target, clean = references(batch, 0.5)
    high, low = np.random.default_rng(3).normal(size=(3, 20, 20)), np.random.default_rng(4).normal(size=(3, 10, 10))
    power = 1 if loss == "l1" else 2
    expected = np.mean(np.abs(high - target) ** power) + np.mean(np.abs(low - clean) ** power)
    output = torch.from_numpy(high).float(), torch.from_numpy(low).float()
    assert method.loss(output, batch).item() == pytest.approx(expected, rel=1e-5)


class OneBatch(SyntheticData):
    """Training data that give the same whole slices at every step."""

    def __init__(self, whole: Batch) -> None:
        super().__init__(whole.scale, 8)
        self.whole = whole

    def batch(self, step: int, *, batch_size: int, patch: int, augment: str) -> Batch:
        assert patch == 0
        return self.whole


def test_patches_are_cut_from_targets_of_whole_slices() -> None:
    """Against numpy: one patch per slice at its own place, the same place in the input and in both targets."""
    method, whole = loaded(loss="l1"), make_batch(2, (10, 10))
    target, clean = references(whole, 0.5)
    low, data, corners = whole.target_lr_magnitude.numpy(), CleanData(OneBatch(whole), 0.5, seed=0), set()
    for step in range(5):
        batch = data.batch(step, batch_size=3, patch=4, augment="dihedral")
        patches, expected = batch.target_lr_magnitude.numpy(), 0.0
        for i in range(3):
            [(y, x)] = [
                (y, x) for y in range(7) for x in range(7) if np.allclose(low[i, y : y + 4, x : x + 4], patches[i])
            ]
            corners.add((y, x))
            expected += np.abs(0.5 - target[i, 2 * y : 2 * y + 8, 2 * x : 2 * x + 8]).mean() / 3
            expected += np.abs(-0.25 - clean[i, y : y + 4, x : x + 4]).mean() / 3
        output = torch.full((3, 8, 8), 0.5), torch.full((3, 4, 4), -0.25)
        assert method.loss(output, batch).item() == pytest.approx(expected, rel=1e-4)
        again = CleanData(OneBatch(whole), 0.5, seed=0).batch(step, batch_size=3, patch=4, augment="dihedral")
        assert torch.equal(again.clean, batch.clean)
    assert len(corners) > 6


def test_the_anti_aliasing_target_goes_with_the_images() -> None:
    """For an odd number of pixels, mirroring and filtering commute."""
    batch = make_batch(2, (9, 9))
    together = CleanBatch.from_slices(batch, 0.5).transform(mirror_rows=True, transpose=True).to("cpu")
    torch.testing.assert_close(together.clean, anti_aliased(together.target_lr, 0.5))
    assert not torch.allclose(together.clean, anti_aliased(batch.target_lr, 0.5))


def test_training_uses_the_targets_of_whole_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = load_method("smore", 2, "smoke", patch=8)
    assert isinstance(method, SMORE)
    seen: list[Batch] = []
    step = method.training_step

    def watched(batch: Batch, update: Update) -> dict[str, Tensor]:
        seen.append(batch)
        return step(batch, update)

    monkeypatch.setattr(method, "training_step", watched)
    method.train(SyntheticData(2, 16), Loop(tmp_path, seed=0))
    assert [type(batch) for batch in seen] == [CleanBatch] * 10
    assert {batch.target_lr.shape[-2:] for batch in seen} == {(8, 8)}


@pytest.mark.parametrize("detach", [True, False])
def test_the_second_network_sees_the_first_ones_output_and_trains_it_only_when_told(detach: bool) -> None:
    method, batch = loaded(detach=detach), make_batch()
    high, clean = method.network(batch.target_lr_magnitude[:, None])
    torch.testing.assert_close(high, method.network.super_resolution(clean))
    high.sum().backward()
    first = [p.grad for p in method.network.anti_aliasing.parameters()]
    assert all((g is None) == detach for g in first)


def test_the_prediction_is_the_second_networks_output_in_physical_units() -> None:
    method, batch = loaded(), make_batch()
    mean, std = (x[:, None, None] for x in batch.target_statistics)
    with torch.no_grad():
        first = method.network.anti_aliasing((batch.target_lr.abs() - mean)[:, None] / std[:, None])
        high = method.network.super_resolution(first)[:, 0]
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, Tensor)
    torch.testing.assert_close(prediction, (high * std + mean).clamp_min(0))


def test_gradient_reaches_every_parameter() -> None:
    method, batch = loaded(), make_batch()
    perturb(method.network)
    method.loss(method.forward(batch), batch).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.network.parameters())


def test_training_lowers_the_loss() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    losses = [method.training_step(batch, update)["loss"] for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]


def test_ten_steps_of_the_training_loop(tmp_path: Path) -> None:
    method = load_method("smore", 2, "smoke")
    before = {name: tensor.clone() for name, tensor in method.state().items()}
    method.train(SyntheticData(2, 16), Loop(tmp_path, seed=0))
    log = pd.read_csv(tmp_path / "training.csv")
    assert log["step"].iloc[-1] == 10
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    assert np.isfinite(log["validation_psnr"].iloc[-1])
    assert all(not torch.equal(before[name], tensor) for name, tensor in method.state().items())
