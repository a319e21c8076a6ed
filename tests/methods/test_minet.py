"""MINet: sizes and costs against the published ones, the order of its stages, its loss, and what it depends on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.methods.minet.network import MINetNetwork
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method

SCALES = (2, 3, 4, 8)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def perturb(module: nn.Module) -> None:
    """Noise on every parameter: gates that start at 0 would hide what is behind them."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))


def loaded(scale: int = 2, **settings: Any) -> TorchMethod:
    method = load_method("minet", scale, "quick", **{"width": 8, "groups": 2, "blocks": 1, **settings})
    assert isinstance(method, TorchMethod)
    return method


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6), n: int = 2) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    target, auxiliary = torch.randn(2, n, *shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    lr, auxiliary_lr = protocol.degrade(target, scale), protocol.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, target=target)


def predict(method: TorchMethod, batch: Batch) -> Tensor:
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, Tensor)
    return prediction


@pytest.mark.parametrize(
    ("groups", "parameters_2x", "parameters_4x", "giga_macs_2x", "giga_macs_4x"),
    [
        (1, 1_502_829, 1_650_541, 142.10, 143.04),
        (2, 2_551_901, 2_699_613, 248.90, 249.83),
        (4, 4_650_045, 4_797_757, 462.81, 463.74),
        (6, 6_748_189, 6_895_901, 677.14, 678.07),
        (8, 8_846_333, 8_994_045, 891.89, 892.82),
    ],
)
def test_published_size_and_cost(
    groups: int, parameters_2x: int, parameters_4x: int, giga_macs_2x: float, giga_macs_4x: float
) -> None:
    for scale, parameters, giga_macs in ((2, parameters_2x, giga_macs_2x), (4, parameters_4x, giga_macs_4x)):
        with torch.device("meta"):
            network = MINetNetwork(scale, groups=groups)
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 1, 320, 320), torch.empty(1, 1, 320 // scale, 320 // scale))
        assert count(network) == parameters
        assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.001)


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("minet")
    fields = methods().load("minet").Settings.model_fields
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper", "released"}
    for preset, sizes in card.parameters.items():
        assert card.presets[preset].keys() == fields.keys()
        for scale in SCALES:
            with torch.device("meta"):
                method = load_method("minet", scale, preset)
            assert isinstance(method, TorchMethod)
            assert count(method.network) == sizes[f"x{scale}"]


@pytest.mark.parametrize("scale", SCALES)
def test_any_shape(scale: int) -> None:
    prediction = predict(loaded(scale), make_batch(scale, (5, 7)))
    assert prediction.shape == (2, 5 * scale, 7 * scale)
    assert prediction.isfinite().all()


def test_stages_in_their_order() -> None:
    """Stage maps are those before the fusion, all auxiliary ones first; the fused feature feeds the next stage and the end."""
    network = MINetNetwork(2, width=4, groups=2, blocks=1)
    perturb(network)
    seen: list[list[Tensor]] = []
    assert network.readout.integration is not None
    network.readout.integration.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image, low = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 4, 4)
    target, auxiliary = network(image, low)

    a = [network.auxiliary_head(image)]
    t = fused = start = network.target_up(network.target_head(low))
    stored = []
    for l in range(3):  # noqa: E741 - two groups and the trailing convolution
        a.append(network.auxiliary_stages[l](a[-1]))
        t = network.target_stages[l](fused)
        stored.append(t)
        mixed = network.fusions[l].conv(torch.cat((a[-1], t), 1))  # type: ignore[operator]
        fused = t + mixed
    for given, expected in zip(seen[0], a[1:] + stored, strict=True):
        torch.testing.assert_close(given, expected)

    end = network.readout
    integrated = end.reduce(network.readout.integration(a[1:] + stored))
    features = end.target_last(torch.cat((end.target_attention(fused), integrated), 1))
    torch.testing.assert_close(target, end.target_final(features + start))
    last = end.auxiliary_last(end.auxiliary_attention(a[-1]))
    torch.testing.assert_close(auxiliary, end.auxiliary_final(last + a[0]))


@pytest.mark.parametrize(("side", "weight"), [("target", 0.7), ("auxiliary", 0.3)])
def test_alpha_weighs_the_side_that_is_named(side: str, weight: float) -> None:
    """Outputs that are off by 1 in the target and by 10 in the auxiliary."""
    method, batch = loaded(alpha=0.7, alpha_side=side), make_batch()
    output = (batch.target_magnitude + 1, batch.auxiliary_magnitude - 10)
    assert method.loss(output, batch).item() == pytest.approx(weight * 1 + (1 - weight) * 10, rel=1e-5)


def test_presets_put_alpha_where_paper_and_code_do() -> None:
    presets = methods().card("minet").presets
    assert [(presets[p]["alpha"], presets[p]["alpha_side"]) for p in ("paper", "released")] == [
        (0.7, "target"),
        (0.7, "auxiliary"),
    ]


@pytest.mark.parametrize("form", ["released", "paper"])
def test_gradient_reaches_every_parameter(form: str) -> None:
    method = loaded(integration=form, attention=form, mean_energies=True)
    unreached = {n for n, _ in method.network.named_parameters()}
    batch = make_batch()
    for _ in range(10):  # the small ReLU layer of a channel attention is dead for some weights
        perturb(method.network)
        method.network.zero_grad()
        method.loss(method.forward(batch), batch).backward()
        unreached -= {n for n, p in method.network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert not unreached


def test_training_lowers_the_loss_and_logs_the_gates() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    logged = [method.training_step(batch, update) for _ in range(25)]
    assert logged[-1]["loss"] < 0.9 * logged[0]["loss"]
    assert {"gamma_integration", "gamma_target_attention", "gamma_auxiliary_attention"} < logged[-1].keys()


def test_the_auxiliary_changes_the_output() -> None:
    method, batch = loaded(), make_batch()
    changed = replace(batch, auxiliary=torch.roll(batch.auxiliary, 3, -1))
    assert not torch.allclose(predict(method, batch), predict(method, changed))
