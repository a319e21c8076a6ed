"""McMRSR: size and cost against measurements, attention and matching against numpy, data consistency against numpy."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.errors import UserError
from mcsr_bench.loading import load_method
from mcsr_bench.method import Batch
from mcsr_bench.methods.mcmrsr import McMRSR, data_consistent
from mcsr_bench.methods.mcmrsr.aggregation import JointResidualAggregation, SpatialAdaptation
from mcsr_bench.methods.mcmrsr.attention import SwinBlock, WindowAttention, from_windows, relative_index, to_windows
from mcsr_bench.methods.mcmrsr.matching import coarse_positions, fine_matches, match, regions, transfer
from mcsr_bench.methods.mcmrsr.network import McMRSRNetwork
from mcsr_bench.protocol import get_protocol
from mcsr_bench.registry import methods


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
    target, aux = torch.randn(2, n, *shape, dtype=torch.complex64, generator=generator) + 1
    lr, aux_lr = chosen.degrade(target, scale), chosen.degrade(aux, scale)
    return Batch.of(lr, aux, aux_lr, scale=scale, protocol=chosen, target=target)


@pytest.mark.parametrize(
    ("scale", "channels", "parameters", "giga_macs"),
    [(2, 2, 3_177_362, 317.1), (4, 2, 3_177_362, 233.17), (2, 1, 3_175_741, 317.0)],
)
def test_published_size_and_cost(scale: Any, channels: int, parameters: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = McMRSRNetwork(scale, channels=channels)
        low, high = torch.empty(1, channels, 320 // scale, 320 // scale), torch.empty(1, channels, 320, 320)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(low, low, high)
    assert count(network) == parameters
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


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("mcmrsr")
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
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


# --- attention -------------------------------------------------------------------------------------------------------


def numpy_attention(
    attention: WindowAttention, x: np.ndarray, allowed: np.ndarray, positions: np.ndarray, window: int
) -> np.ndarray:
    """One window in float64: x (T, C), allowed (T, T), positions (T, 2)."""
    T, C = x.shape
    heads = attention.heads
    w = {k: v.detach().double().numpy() for k, v in attention.state_dict().items()}
    qkv = x @ w["qkv.weight"].T + w["qkv.bias"]
    q, k, v = (qkv[:, i * C : (i + 1) * C].reshape(T, heads, C // heads) for i in range(3))
    out = np.zeros((T, heads, C // heads))
    for head in range(heads):
        for i in range(T):
            logits = np.full(T, -np.inf)
            for j in range(T):
                if allowed[i, j]:
                    dy, dx = positions[i] - positions[j] + window - 1
                    bias = w["bias"][dy * (2 * window - 1) + dx, head]
                    logits[j] = q[i, head] @ k[j, head] / np.sqrt(C // heads) + bias
            weight = np.exp(logits - logits.max())
            out[i, head] = (weight / weight.sum()) @ v[:, head]
    return out.reshape(T, C) @ w["proj.weight"].T + w["proj.bias"]


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_is_attention_among_true_neighbours(shifted: bool) -> None:
    """A shifted block by hand: each token attends to the tokens of its window that were its neighbours before the roll."""
    torch.manual_seed(0)
    window, C, h, w = 4, 4, 8, 12
    block = SwinBlock(C, 2, window, shifted=shifted, drop_path=0.0).eval()
    nn.init.normal_(block.attention.bias)
    x = torch.randn(1, h, w, C)
    block.mlp = nn.Sequential()  # its part is x + mlp(norm(x)); without it the norm alone is added
    with torch.no_grad():
        found = block(x)[0].double().numpy()
        normed = block.norm1(x)[0].double().numpy()
    shift = window // 2 if shifted else 0
    out = np.zeros((h, w, C))
    for y, x0 in np.ndindex(h, w):
        wy, wx = ((y - shift) % h) // window, ((x0 - shift) % w) // window
        members = [
            (a, b)
            for a, b in np.ndindex(h, w)
            if ((a - shift) % h) // window == wy and ((b - shift) % w) // window == wx
        ]
        tokens = np.array(members)
        rolled = np.stack([(tokens[:, 0] - shift) % h, (tokens[:, 1] - shift) % w], 1)
        allowed = (np.abs(tokens[:, None] - tokens[None]) < window).all(-1)  # what wrapped round lies far away
        i = members.index((y, x0))
        values = np.stack([normed[a, b] for a, b in members])
        local = rolled - rolled.min(0)
        out[y, x0] = numpy_attention(block.attention, values, allowed, local, window)[i]
    middle = x[0].double().numpy() + out
    with torch.no_grad():
        expected = middle + block.norm2(torch.from_numpy(middle).float()).double().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_windows_come_back_and_relative_indices_are_differences() -> None:
    x = torch.arange(2 * 8 * 16 * 3.0).reshape(2, 8, 16, 3)
    assert torch.equal(from_windows(to_windows(x, 4), 4, (2, 8, 16)), x)
    index = relative_index(3)
    assert index[0, 0] == index[4, 4] == 12  # no displacement: the middle of 5 x 5
    assert index[0, 8] == 0
    assert index[8, 0] == 24
    assert len(torch.unique(index)) == 25


def test_stochastic_depth_keeps_the_expectation_and_is_off_when_predicting() -> None:
    torch.manual_seed(0)
    block = SwinBlock(4, 1, 4, shifted=False, drop_path=0.5)
    y = torch.ones(4000, 1, 1, 1)
    kept = block.train()._dropped(y)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(block.eval()._dropped(y), y)


# --- matching --------------------------------------------------------------------------------------------------------


def test_a_planted_translation_is_found_exactly() -> None:
    """The auxiliary is the target, moved by (3, -5) LR pixels: every inner pixel finds itself, at every scale."""
    torch.manual_seed(0)
    high = torch.randn(1, 6, 64, 64)
    low = high[:, :, ::2, ::2].contiguous()
    moved_low, moved_high = torch.roll(low, (3, -5), (2, 3)), torch.roll(high, (6, -10), (2, 3))
    first, second = match(low, moved_low, [moved_low, moved_high])
    inner = (slice(None), slice(None), slice(8, 24), slice(8, 24))
    torch.testing.assert_close(first[inner], low[inner], atol=1e-4, rtol=1e-4)
    inner = (slice(None), slice(None), slice(18, 46), slice(18, 46))
    torch.testing.assert_close(second[inner], high[inner], atol=1e-4, rtol=1e-4)


def test_coarse_search_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    target, aux = rng.normal(size=(2, 3, 16, 24))
    top, left = coarse_positions(torch.from_numpy(target)[None], torch.from_numpy(aux)[None])
    rim_t = np.pad(target, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for block, (by, bx) in enumerate(np.ndindex(2, 3)):
        total = np.zeros((16, 24))
        for d in (1, 2, 3):
            wide = np.pad(aux, ((0, 0), (d, d), (d, d)))
            cy, cx = 8 * by + 5, 8 * bx + 5
            own = rim_t[:, [cy - d, cy, cy + d]][:, :, [cx - d, cx, cx + d]].ravel()
            for y, x in np.ndindex(16, 24):
                other = wide[:, [y, y + d, y + 2 * d]][:, :, [x, x + d, x + 2 * d]].ravel()
                total[y, x] += own @ other / np.linalg.norm(own) / np.linalg.norm(other)
        y, x = np.unravel_index(total.argmax(), total.shape)
        expected = (min(max(y - 6, 0), 16 - 13), min(max(x - 6, 0), 24 - 13))
        assert (int(top[0, block]), int(left[0, block])) == expected


def test_fine_search_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    block, region = rng.normal(size=(3, 10, 10)), rng.normal(size=(3, 15, 12))
    index, similarity = fine_matches(torch.from_numpy(block)[None], torch.from_numpy(region)[None])
    for i, (y, x) in enumerate(np.ndindex(8, 8)):
        own = block[:, y : y + 3, x : x + 3].ravel()
        scores = np.array(
            [
                own @ (other := region[:, a : a + 3, b : b + 3].ravel()) / np.linalg.norm(own) / np.linalg.norm(other)
                for a, b in np.ndindex(13, 10)
            ]
        )
        assert int(index[0, i]) == scores.argmax()
        assert float(similarity[0, y, x]) == pytest.approx(scores.max(), abs=1e-9)


@pytest.mark.parametrize("factor", [1, 2])
def test_transfer_averages_overlapping_neighbourhoods(factor: int) -> None:
    rng = np.random.default_rng(2)
    region = rng.normal(size=(2, 15 * factor, 12 * factor))
    index = rng.integers(0, 13 * 10, size=64)
    found = transfer(torch.from_numpy(region)[None], torch.from_numpy(index)[None], factor)[0].numpy()
    total, hits = np.zeros((2, 10 * factor, 10 * factor)), np.zeros((10 * factor, 10 * factor))
    for i, (y, x) in enumerate(np.ndindex(8, 8)):
        a, b = divmod(int(index[i]), 10)
        patch = region[:, a * factor : (a + 3) * factor, b * factor : (b + 3) * factor]
        total[:, y * factor : (y + 3) * factor, x * factor : (x + 3) * factor] += patch
        hits[y * factor : (y + 3) * factor, x * factor : (x + 3) * factor] += 1
    np.testing.assert_allclose(found, (total / hits)[:, factor:-factor, factor:-factor], atol=1e-12)


def test_regions_stay_inside_and_have_a_rim() -> None:
    features = torch.arange(16 * 24.0).reshape(1, 1, 16, 24)
    zero, three, eleven = torch.tensor([0]), torch.tensor([3]), torch.tensor([11])
    found = regions(features, zero, three, eleven)[0, 0]
    assert found.shape == (15, 15)
    assert torch.equal(found[1:-1, 1:-1], features[0, 0, 3:16, 11:24])
    assert torch.equal(found[-1, 1:-1], features[0, 0, 15, 11:24])  # the edge, repeated


# --- aggregation -----------------------------------------------------------------------------------------------------


def test_adaptation_gives_the_reference_the_targets_mean_and_spread() -> None:
    """With corrections at zero: instance-normalised reference times the target's deviation, plus its mean."""
    adapt = SpatialAdaptation(3)
    for layer in (adapt.gamma, adapt.beta):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    target, reference = torch.randn(2, 2, 3, 8, 6) * 3 + 1
    found = adapt(target, reference)
    t, r = target.double().numpy(), reference.double().numpy()
    axes = (2, 3)
    normed = (r - r.mean(axes, keepdims=True)) / np.sqrt(r.var(axes, keepdims=True) + 1e-5)
    expected = normed * t.std(axes, ddof=1, keepdims=True) + t.mean(axes, keepdims=True)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("up", [True, False])
def test_joint_residual_aggregation_by_its_formula(up: bool) -> None:
    merge = JointResidualAggregation(3, up=up)
    target, reference = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 8, 12) if up else torch.randn(1, 3, 4, 6)
    u = torch.relu(merge.up_a(torch.relu(merge.down_a(reference)) - target)) + reference
    v = torch.relu(merge.up_b(target - torch.relu(merge.down_b(reference)) + target))
    expected = torch.relu(merge.join(torch.cat((u, v), 1)))
    found = merge(target, reference)
    assert found.shape == reference.shape
    torch.testing.assert_close(found, expected)


# --- the method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mcsr-1", "sanet-2021"])
@pytest.mark.parametrize("scale", [2, 4])
def test_after_data_consistency_the_lr_kspace_is_the_measured_one(scale: int, protocol: str) -> None:
    """In numpy: degrading the prediction gives the LR data, and the rest of its k-space is untouched."""
    batch = make_batch(scale, protocol=protocol)
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
    target_phase, aux_phase = torch.exp(0.04j * x + 0.9j), torch.exp(-0.03j * y + 0.2j)

    def batch(target: torch.Tensor, aux: torch.Tensor) -> Batch:
        protocol = get_protocol("mcsr-1")
        low = [
            image[:, ::2, ::2].contiguous() for image in (target, aux)
        ]  # sampled, so that the phase is the same function
        return Batch.of(low[0], aux, low[1], scale=2, protocol=protocol)

    plain = batch(magnitudes[0] + 0j, magnitudes[1] + 0j)
    turned = batch(magnitudes[0] * target_phase, magnitudes[1] * aux_phase)
    for phase, same in (("demodulated", True), ("kept", False)):
        method = loaded(phase=phase, consistency=False)
        method.network.eval()
        with torch.no_grad():
            one, two = method.forward(plain), method.forward(turned)
        inner = (slice(None), slice(4, -4), slice(4, -4))
        difference = (one * target_phase - two)[inner].abs().max() / one.abs().max()
        assert bool(difference < 0.1) == same, (phase, difference)


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
    optimizers = method.configure_optimizers()
    losses = [method.training_step(batch, optimizers)["loss"] for _ in range(25)]
    assert losses[-1] < 0.95 * losses[0]
