"""McMRSR: size and cost against measurements, phase, loss and data consistency against numpy (parts: test_mcmrsr_parts.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.errors import UserError
from mcsr_bench.methods.mcmrsr import McMRSR, data_consistent
from mcsr_bench.methods.mcmrsr.network import McMRSRNetwork
from mcsr_bench.methods.mcmrsr.phase import enlarged, slow_phase
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def loaded(scale: int = 2, **settings: Any) -> McMRSR:
    small = {"width": 8, "heads": 2, "depth": 2, "blocks": [1, 1, 1]}
    method = load_method("mcmrsr", scale, "quick", **{**small, **settings})
    assert type(method).__name__ == "McMRSR"
    return method  # type: ignore[return-value]


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (16, 8), protocol: str = "mcsr-1", n: int = 2) -> Batch:
    chosen, shape = get_protocol(protocol), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, auxiliary = torch.randn(2, n, *shape, dtype=torch.complex64, generator=generator) + 1
    lr, auxiliary_lr = chosen.degrade(target, scale), chosen.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=chosen, target=target)


@pytest.mark.parametrize(
    ("scale", "channels", "parameters", "giga_macs"),
    [(2, 2, 3_177_362, 317.1), (2, 1, 3_175_741, 317.0)],  # 4x: tests/test_info.py
)
def test_published_size_and_cost(scale: Any, channels: int, parameters: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = McMRSRNetwork(scale, channels=channels)
        low, high = torch.empty(1, channels, 320 // scale, 320 // scale), torch.empty(1, channels, 320, 320)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(low, low, high)
    assert count(network) == parameters == hand_count(channels, 60, 4, 6, 6, (12, 8, 4))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.001)


def test_parts_have_the_sizes_of_the_facts() -> None:
    network = McMRSRNetwork(2)
    assert count(network.shallow) == 130_980
    assert count(network.transformer.groups) == 869_280
    assert count(network.transformer.conv) == 32_460
    assert count(network.aggregation.adapt) == 129_780
    assert count(network.aggregation.merge) == count(network.aggregation.merge_same) == 194_700
    assert [count(network.aggregation.blocks[f"x{f}"]) for f in (1, 2, 4)] == [779_040, 519_360, 259_680]
    assert count(network.aggregation.out) == 1_082


def hand_count(
    channels: int, width: int, groups: int, depth: int, heads: int, blocks: Sequence[int], window: int = 8
) -> int:
    """From the layer list: the same at 2x and 4x."""

    def conv3(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs

    e = width
    same, residual = conv3(e, e), 2 * conv3(e, e)
    shallow = conv3(channels, e) + 2 * residual
    attention = e * 3 * e + 3 * e + e * e + e + (2 * window - 1) ** 2 * heads
    block = 4 * e + attention + e * 2 * e + 2 * e + 2 * e * e + e
    transformer = groups * (depth * block + same) + 4 * e + same
    pyramid = conv3(channels, e) + 2 * same
    adaptation = conv3(2 * e, e) + 2 * same
    merging = 2 * (4 * same + conv3(2 * e, e))
    return shallow + transformer + pyramid + adaptation + merging + sum(blocks) * residual + conv3(e, channels)


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("mcmrsr")
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
        layers = {k: card.presets[preset][k] for k in ("width", "groups", "depth", "heads", "blocks")}
        assert sizes == dict.fromkeys(("x2", "x4"), hand_count(2, **layers))
        assert card.presets[preset].keys() == methods().load("mcmrsr").Settings.model_fields.keys()
        for scale in (2, 4):
            with torch.device("meta"):
                method = load_method("mcmrsr", scale, preset)
            assert count(method.network) == sizes[f"x{scale}"]  # type: ignore[attr-defined]


def test_dead_parameters_are_those_of_the_card_at_2x_and_none_at_4x() -> None:
    card = methods().card("mcmrsr")
    for scale, dead in ((2, 292_140), (4, 0)):
        names = dict(McMRSRNetwork(scale).named_parameters())  # type: ignore[arg-type]
        found = [p.numel() for n, p in names.items() if any(fnmatchcase(n, pattern) for pattern in card.dead_at(scale))]
        assert sum(found) == dead
        assert len(found) == (18 if scale == 2 else 0)


@pytest.mark.parametrize("scale", [2, 4])
def test_gradients_reach_all_but_the_dead(scale: int) -> None:
    method, batch = loaded(scale), make_batch(scale)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in method.network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    method.loss(method.forward(batch), batch).backward()
    dead = methods().card("mcmrsr").dead_at(scale)
    for name, p in method.network.named_parameters():
        expected = not any(fnmatchcase(name, pattern) for pattern in dead)
        assert (p.grad is not None and bool(p.grad.abs().max() > 0)) == expected, name


# --- the method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mcsr-1", "sanet-2021"])
@pytest.mark.parametrize(("scale", "lr_shape"), [(2, (16, 8)), (4, (16, 8)), (2, (7, 10)), (3, (5, 7))])
def test_after_data_consistency_the_lr_kspace_is_the_measured_one(
    scale: int, lr_shape: tuple[int, int], protocol: str
) -> None:
    """In numpy, sizes even and odd: degrading the prediction gives the LR data, and the rest of its k-space is untouched."""
    batch = make_batch(scale, lr_shape, protocol=protocol)
    image = torch.randn(2, *batch.hr_shape, dtype=torch.complex64)
    found = data_consistent(image, batch).numpy()
    axes = (-2, -1)

    def spectrum(x: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes=axes), norm="ortho"), axes=axes)

    H, W = batch.hr_shape
    h, w = H // scale, W // scale
    centre = (slice(None), slice(H // 2 - h // 2, H // 2 - h // 2 + h), slice(W // 2 - w // 2, W // 2 - w // 2 + w))
    std = np.abs(batch.target_lr.numpy()).std((1, 2), ddof=1, keepdims=True)
    gain = 1.0 if protocol == "sanet-2021" else scale  # the orthonormal crop is s times brighter
    expected = spectrum(batch.target_lr.numpy() / std) * gain
    np.testing.assert_allclose(spectrum(found)[centre], expected, atol=1e-4)
    outside = np.ones((H, W), bool)
    outside[centre[1:]] = False
    np.testing.assert_allclose(spectrum(found)[:, outside], spectrum(image.numpy())[:, outside], atol=1e-4)
    truth = data_consistent(batch.target_complex, batch)
    torch.testing.assert_close(truth, batch.target_complex, atol=1e-4, rtol=1e-4)  # the target is consistent already


def test_slow_phase_is_taken_off_and_put_back() -> None:
    """A smooth phase on everything changes nothing but the output's phase; kept, it changes what the network sees."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    magnitudes = torch.rand(2, 1, 32, 32, generator=generator) + 0.5
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(32) - 16, indexing="ij")
    target_phase, auxiliary_phase = torch.exp(0.04j * x + 0.9j), torch.exp(-0.03j * y + 0.2j)

    def batch(target: torch.Tensor, auxiliary: torch.Tensor) -> Batch:
        protocol = get_protocol("mcsr-1")
        low = [
            image[:, ::2, ::2].contiguous() for image in (target, auxiliary)
        ]  # sampled, so that the phase is the same function
        return Batch.of(low[0], auxiliary, low[1], scale=2, protocol=protocol)

    plain = batch(magnitudes[0] + 0j, magnitudes[1] + 0j)
    turned = batch(magnitudes[0] * target_phase, magnitudes[1] * auxiliary_phase)
    for phase, same in (("demodulated", True), ("kept", False)):
        method = loaded(phase=phase, consistency=False)
        method.network.eval()
        with torch.no_grad():
            one, two = method.forward(plain), method.forward(turned)
        inner = (slice(None), slice(4, -4), slice(4, -4))
        difference = (one * target_phase - two)[inner].abs().max() / one.abs().max()
        assert bool(difference < 0.1) == same, (phase, difference)


@pytest.mark.parametrize("scale", [2, 4])
def test_constant_phases_go_straight_through(scale: int) -> None:
    """A constant phase of the target turns the output alike, one of the auxiliary does nothing: exactly."""
    method, batch = loaded(scale, phase="demodulated", consistency=False), make_batch(scale)
    own, other = np.exp(1.1j), np.exp(-2.3j)
    turned = replace(
        batch,
        target_lr=batch.target_lr * own,
        auxiliary=batch.auxiliary * other,
        auxiliary_lr=batch.auxiliary_lr * other,
        target=None,
    )
    one, two = method.predict(batch.without_target()), method.predict(turned)
    assert isinstance(one, torch.Tensor)
    assert isinstance(two, torch.Tensor)
    torch.testing.assert_close(one * own, two, atol=1e-4, rtol=1e-4)


def test_slow_phase_by_hand_and_where_there_is_no_signal() -> None:
    rng = np.random.default_rng(6)
    low = rng.normal(size=(5, 6)) + 1j * rng.normal(size=(5, 6))
    found = slow_phase(torch.from_numpy(low)[None])[0].numpy()
    wide, taps = np.pad(low, 2, mode="edge"), np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])
    smooth = np.array([[(wide[i : i + 5, j : j + 5] * taps).sum() for j in range(6)] for i in range(5)])
    np.testing.assert_allclose(found, smooth / np.abs(smooth), atol=1e-12)
    large = enlarged(torch.from_numpy(found)[None], 4)[0].numpy()
    edge = np.pad(found, ((0, 1), (0, 1)), mode="edge")
    for i, j in np.ndindex(20, 24):
        (a, p), (b, q) = divmod(i, 4), divmod(j, 4)
        corners = edge[a : a + 2, b : b + 2] * np.outer([4 - p, p], [4 - q, q])
        assert large[i, j] == pytest.approx(corners.sum() / np.abs(corners.sum()), abs=1e-9)
    nothing = torch.zeros(1, 8, 8, dtype=torch.complex64)
    assert torch.equal(slow_phase(nothing), torch.ones_like(nothing))


def test_loss_by_hand() -> None:
    method, batch = loaded(kspace_weight=0.01, patch=0), make_batch()
    assert batch.target is not None
    output = torch.full_like(batch.target, 0.25 - 0.5j)
    std = np.abs(batch.target_lr.numpy()).std((1, 2), ddof=1, keepdims=True)
    target = batch.target.numpy() / std
    difference = output.numpy() - target
    first = np.mean([np.abs(difference.real).mean(), np.abs(difference.imag).mean()])
    after = data_consistent(output, batch).numpy() - target
    k = np.fft.fft2(after)  # unnormalised
    second = np.mean([np.mean(k.real**2), np.mean(k.imag**2)])
    # The centred transform differs in phase alone: the mean over both parts is the same.
    assert method.loss(output, batch).item() == pytest.approx(first + 0.01 * second, rel=1e-4)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("data", ["complex", "magnitude"])
def test_any_shape_and_never_the_target(scale: int, data: str) -> None:
    method, batch = loaded(scale, data=data), make_batch(scale, (24, 8), n=3)
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, torch.Tensor)
    assert prediction.is_complex() == (data == "complex")
    assert prediction.shape == (3, 24 * scale, 8 * scale)
    assert batch.target is not None
    poisoned = method.predict(replace(batch, target=torch.full_like(batch.target, torch.nan)))
    assert torch.equal(prediction, torch.as_tensor(poisoned))
    assert bool(method.notes()) == (data == "magnitude")


def test_the_prediction_is_consistent_with_the_lr_data() -> None:
    method, batch = loaded(), make_batch()
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, torch.Tensor)
    low = batch.protocol.degrade(prediction, 2)
    torch.testing.assert_close(low, batch.target_lr, atol=1e-4, rtol=1e-4)
    free = loaded(consistency=False).predict(batch.without_target())
    assert isinstance(free, torch.Tensor)
    assert not torch.allclose(batch.protocol.degrade(free, 2), batch.target_lr, atol=1e-2)


@pytest.mark.parametrize(
    "settings", [{"width": 9}, {"kspace_weight": 0.1}, {"kspace_weight": 0.1, "patch": 0, "data": "magnitude"}]
)
def test_settings_that_contradict_each_other_get_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="mcmrsr"):
        loaded(**settings)


def test_training_lowers_the_loss() -> None:
    method, batch = loaded(), make_batch(lr_shape=(8, 8))
    update = Updater(method)
    losses = [method.training_step(batch, update)["loss"] for _ in range(25)]
    assert losses[-1] < 0.95 * losses[0]
