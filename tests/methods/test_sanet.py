"""SANet: sizes and costs against the published ones, separable attention against numpy and scipy, switches and order of stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.methods.sanet.network import SANetNetwork, SeparableAttention, SeparableFusion
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method

SCALES = (2, 3, 4, 8)

# Table III of the paper; parameters and multiply-accumulates (1e9) at 2x, HR 320.
ABLATIONS: list[tuple[dict[str, Any], int, float]] = [
    ({"auxiliary": False, "integration": "none", "attention": "none"}, 3_124_049, 305.84),
    ({"auxiliary": False, "integration": "none"}, 3_124_078, 306.02),
    ({"separable": False, "integration": "none"}, 6_113_052, 609.56),
    ({"separable": False}, 6_592_349, 660.52),
    ({}, 6_806_627, 682.26),
]
FORMS: list[dict[str, Any]] = [
    {},
    {
        "integration": "paper",
        "attention": "paper",
        "attention_map": "auxiliary",
        "norm": "none",
        "fusion_order": "before",
    },
    {"attention_map": "auxiliary"},
    {"fusion_order": "before"},
    {"auxiliary": False},
    *(ablation for ablation, _, _ in ABLATIONS[:-1]),
]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def giga_macs(network: nn.Module, scale: int) -> float:
    """Of a network on the meta device at HR 320."""
    inputs = torch.empty(1, 1, 320, 320, device="meta"), torch.empty(1, 1, 320 // scale, 320 // scale, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops() / 2e9


def perturb(module: nn.Module) -> None:
    """Noise on every parameter and batch statistic: gates that start at 0 would hide what is behind them."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
        for b in module.buffers():
            if b.is_floating_point():
                b.add_(0.1 * torch.rand_like(b))  # a variance stays positive


def loaded(scale: int = 2, **settings: Any) -> TorchMethod:
    method = load_method("sanet", scale, "quick", **{"width": 8, "groups": 2, "blocks": 1, **settings})
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


@pytest.mark.parametrize(("scale", "parameters", "cost"), [(2, 6_806_627, 682.26), (4, 6_954_339, 683.20)])
def test_published_size_and_cost(scale: int, parameters: int, cost: float) -> None:
    with torch.device("meta"):
        network = SANetNetwork(scale)
    assert count(network) == parameters
    assert giga_macs(network, scale) == pytest.approx(cost, rel=0.001)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 8])
def test_size_is_linear_in_the_groups(groups: int) -> None:
    with torch.device("meta"):
        assert count(SANetNetwork(2, groups=groups)) == 297_917 + 1_084_785 * groups
        assert count(SANetNetwork(4, groups=groups)) == 297_917 + 1_084_785 * groups + 147_712


@pytest.mark.parametrize(("switches", "parameters", "cost"), ABLATIONS)
def test_ablations_of_table_iii(switches: dict[str, Any], parameters: int, cost: float) -> None:
    with torch.device("meta"):
        network = SANetNetwork(2, **switches)
        assert count(SANetNetwork(4, **switches)) == parameters + 147_712
    assert count(network) == parameters
    assert giga_macs(network, 2) == pytest.approx(cost, rel=0.001)


def test_hand_counts_of_separable_attention() -> None:
    reduce, branch, norm = 128 * 32 + 32, 9 * 32 * 32 + 32, 64
    join = (9 * 64 * 32 + 32) + norm + (32 * 64 + 64)
    expected = reduce + 2 * (branch + norm) + join
    assert count(SeparableAttention(64)) == expected == 43_392
    assert count(SeparableAttention(64, norm="none")) == expected - 3 * norm
    assert count(SeparableFusion(64)) == expected + 577
    assert count(SeparableFusion(64, attention_map="auxiliary")) == expected + 64 * 32 + 32


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("sanet")
    fields = methods().load("sanet").Settings.model_fields
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper", "released"}
    for preset, sizes in card.parameters.items():
        assert card.presets[preset].keys() == fields.keys()
        for scale in SCALES:
            with torch.device("meta"):
                method = load_method("sanet", scale, preset)
            assert isinstance(method, TorchMethod)
            assert count(method.network) == sizes[f"x{scale}"]


def _conv(x: NDArray[np.float64], layer: nn.Conv2d) -> NDArray[np.float64]:
    """(C, H, W) by scipy, zero padding."""
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    planes = [[correlate(c, k, mode="constant") for c, k in zip(x, kernels, strict=True)] for kernels in weight]
    return np.array([np.sum(p, 0) for p in planes]) + bias[:, None, None]


def _conv_norm_relu(x: NDArray[np.float64], layers: nn.Sequential) -> NDArray[np.float64]:
    conv = layers[0]
    assert isinstance(conv, nn.Conv2d)
    x = _conv(x, conv)
    if isinstance(layers[1], nn.BatchNorm2d):
        norm = {k: v.detach().numpy()[:, None, None] for k, v in layers[1].state_dict().items() if v.ndim}
        x = (x - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    return np.maximum(x, 0)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("attention_map", ["learned", "auxiliary"])
def test_separable_attention_against_numpy(attention_map: Any, norm: Any) -> None:
    """The HP branch sees the prior, the LS branch its complement, the target feature is added."""
    torch.manual_seed(0)
    fusion = SeparableFusion(8, attention_map, norm).double()
    perturb(fusion)
    fusion.eval()
    a, t = torch.randn(2, 1, 8, 6, 5, dtype=torch.float64).unbind()
    prior = 1 / (1 + np.exp(-_conv(a[0].numpy(), fusion.prior)))
    assert prior.shape[0] == (1 if attention_map == "learned" else 4)
    s = fusion.attention
    fused = _conv(np.concatenate((a[0].numpy(), t[0].numpy())), s.reduce)
    high, low = _conv_norm_relu(fused * prior, s.high), _conv_norm_relu(fused * (1 - prior), s.low)
    first, last = s.join
    assert isinstance(first, nn.Sequential)
    assert isinstance(last, nn.Conv2d)
    expected = t[0].numpy() + _conv(_conv_norm_relu(np.concatenate((high, low)), first), last)
    np.testing.assert_allclose(fusion(a, t)[0].detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    selection = fusion.select(a, t)
    np.testing.assert_allclose(selection.high_prior[0].detach().numpy(), prior, rtol=1e-12)
    np.testing.assert_allclose(selection.high[0].detach().numpy(), high, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(selection.low[0].detach().numpy(), low, rtol=1e-9, atol=1e-12)
    assert np.abs(high - low).max() > 0.1


@pytest.mark.parametrize("order", ["after", "before"])
def test_stages_in_their_order(order: Any) -> None:
    """Stage maps are outputs of residual groups, all auxiliary ones first; where the fusion stands is the setting's."""
    network = SANetNetwork(2, width=4, groups=3, blocks=1, fusion_order=order).eval()
    perturb(network)
    seen: list[list[Tensor]] = []
    assert network.readout.integration is not None
    assert network.auxiliary_head is not None
    network.readout.integration.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image, low = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 4, 4)
    target, auxiliary = network(image, low)

    a = [network.auxiliary_head(image)]
    t = start = network.target_up(network.target_head(low))
    stored: list[Tensor] = []
    for group_a, group_t, fuse in zip(network.auxiliary_groups, network.target_groups, network.fusions, strict=True):
        a.append(group_a(a[-1]))
        if order == "after":
            stored.append(group_t(t))
            t = fuse(a[-1], stored[-1])
        else:
            t = group_t(fuse(a[-2], t))
            stored.append(t)
    for given, expected in zip(seen[0], a[1:] + stored, strict=True):
        torch.testing.assert_close(given, expected)

    end = network.readout
    integrated = end.reduce(network.readout.integration(a[1:] + stored))
    features = end.target_last(torch.cat((end.target_attention(t), integrated), 1))
    torch.testing.assert_close(target, end.target_final(features + start))
    last = end.auxiliary_last(end.auxiliary_attention(a[-1]))
    torch.testing.assert_close(auxiliary, end.auxiliary_final(last + a[0]))


@pytest.mark.parametrize("scale", SCALES)
def test_any_shape(scale: int) -> None:
    prediction = predict(loaded(scale), make_batch(scale, (5, 7)))
    assert prediction.shape == (2, 5 * scale, 7 * scale)
    assert prediction.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_every_parameter(form: dict[str, Any]) -> None:
    """In evaluation mode: in training, batch normalisation cancels the biases before it."""
    method = loaded(**form, mean_energies=True)
    unreached = {n for n, _ in method.network.named_parameters()}
    batch = make_batch()
    for _ in range(10):  # the small ReLU layer of a channel attention is dead for some weights
        perturb(method.network)
        method.network.zero_grad()
        method.network.eval()
        method.loss(method.forward(batch), batch).backward()
        unreached -= {n for n, p in method.network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert not unreached


@pytest.mark.parametrize(("side", "weight"), [("target", 0.7), ("auxiliary", 0.3)])
def test_alpha_weighs_the_side_that_is_named(side: str, weight: float) -> None:
    """Outputs that are off by 1 in the target and by 10 in the auxiliary."""
    method, batch = loaded(alpha=0.7, alpha_side=side), make_batch()
    output = (batch.target_magnitude + 1, batch.auxiliary_magnitude - 10)
    assert method.loss(output, batch).item() == pytest.approx(weight * 1 + (1 - weight) * 10, rel=1e-5)
    squared = loaded(alpha=0.7, alpha_side=side, loss="l2").loss(output, batch)
    assert squared.item() == pytest.approx(weight * 1 + (1 - weight) * 100, rel=1e-5)


def test_presets_put_alpha_where_paper_and_code_do() -> None:
    presets = methods().card("sanet").presets
    assert [(presets[p]["alpha"], presets[p]["alpha_side"]) for p in ("paper", "released")] == [
        (0.7, "target"),
        (0.7, "auxiliary"),
    ]


def test_without_auxiliary_branch_only_the_target_counts() -> None:
    method, batch = loaded(auxiliary=False, integration="none"), make_batch()
    output = method.forward(batch)
    assert output[1] is None
    assert method.loss((batch.target_magnitude + 1, None), batch).item() == pytest.approx(1, rel=1e-5)
    assert method.maps(batch) == {}
    changed = replace(batch, auxiliary=torch.roll(batch.auxiliary, 3, -1))
    assert torch.equal(predict(method, batch), predict(method, changed))


def test_the_auxiliary_changes_the_output() -> None:
    method, batch = loaded(), make_batch()
    changed = replace(batch, auxiliary=torch.roll(batch.auxiliary, 3, -1))
    assert not torch.allclose(predict(method, batch), predict(method, changed))


def test_training_lowers_the_loss_and_logs_the_gates() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    logged = [method.training_step(batch, update) for _ in range(25)]
    assert logged[-1]["loss"] < 0.9 * logged[0]["loss"]
    assert {"gamma_integration", "gamma_target_attention", "gamma_auxiliary_attention"} < logged[-1].keys()


def test_batch_statistics_are_for_training_alone() -> None:
    method, batch = loaded(), make_batch(n=3)
    perturb(method.network)
    method.network.train()
    before = {n: b.clone() for n, b in method.network.named_buffers() if n.endswith("running_mean")}
    method.forward(batch)
    assert all(not torch.equal(before[n], dict(method.network.named_buffers())[n]) for n in before)
    assert len(before) == 2 * 3
    whole = predict(method, batch)
    for i in range(3):
        part = slice(i, i + 1)
        images = batch.target_lr[part], batch.auxiliary[part], batch.auxiliary_lr[part]
        one = Batch.of(*images, scale=2, protocol=batch.protocol)
        torch.testing.assert_close(predict(method, one), whole[part], rtol=1e-4, atol=1e-5)


def test_maps_are_the_selections_of_every_stage() -> None:
    method, batch = loaded(), make_batch()
    maps = method.maps(batch)
    names = ("prior_high", "prior_low", "high", "low")
    assert maps.keys() == {f"{name}_{stage}" for name in names for stage in (1, 2)}
    for stage in (1, 2):
        high, low = maps[f"prior_high_{stage}"], maps[f"prior_low_{stage}"]
        assert high.shape == (2, 1, *batch.hr_shape)
        torch.testing.assert_close(high + low, torch.ones_like(high))
        assert maps[f"high_{stage}"].shape == maps[f"low_{stage}"].shape == (2, 4, *batch.hr_shape)
        assert not any(m.requires_grad for m in maps.values())


def test_the_released_preset_is_the_four_stages_that_the_released_code_runs() -> None:
    for scale, live, macs in ((2, 4_637_057, 460.90), (4, 4_784_769, 461.83)):
        with torch.device("meta"):
            method = load_method("sanet", scale, "released")
        assert isinstance(method, TorchMethod)
        assert count(method.network) == live
        assert giga_macs(method.network, scale) == pytest.approx(macs, rel=0.001)
        assert (method.settings.optimizer, method.settings.alpha, method.settings.alpha_side) == (
            "rmsprop",
            0.7,
            "auxiliary",
        )


@pytest.mark.parametrize(("scale", "up_steps", "live"), [(2, 1, 4_637_057), (4, 2, 4_784_769)])
def test_hand_count_of_the_released_network(scale: int, up_steps: int, live: int) -> None:
    """Part by part from the published layer list: four stages, eight maps, nothing dead."""
    with torch.device("meta"):
        method = load_method("sanet", scale, "released")
    assert isinstance(method, TorchMethod)
    network = method.network
    assert isinstance(network, SANetNetwork)
    assert len(network.fusions) == len(network.auxiliary_groups) == len(network.target_groups) == 4
    conv = 64 * 64 * 9 + 64
    block = 2 * conv + (64 * 4 + 4) + (4 * 64 + 64)
    attention, one_map, csam = 43_392, 64 * 9 + 1, 27 + 1 + 1
    ends = (64 * 128 * 9 + 64) + conv + 2 * (64 * 9 + 1)
    parts = {
        "target_head": 9 * 64 + 64,
        "auxiliary_head": 9 * 64 + 64,
        "target_up": up_steps * (64 * 256 * 9 + 256) + conv,
        "target_groups": 4 * (6 * block + conv),
        "auxiliary_groups": 4 * (6 * block + conv),
        "fusions": 4 * (attention + one_map),
        "readout": 1 + (8 * 64 * 64 * 9 + 64) + 2 * csam + ends,
    }
    assert {name: count(child) for name, child in network.named_children() if count(child)} == parts
    assert sum(parts.values()) == live


def test_joint_super_resolution_starts_from_both_lr_images() -> None:
    """An up-sampler more (184 640 at the paper's size), both contrasts out, and the HR auxiliary is never looked at."""
    with torch.device("meta"):
        assert count(SANetNetwork(2, joint=True)) == count(SANetNetwork(2)) + 184_640
    protocol = get_protocol("mcsr-1")
    target, auxiliary = torch.randn(2, 2, 16, 12, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    lr, auxiliary_lr = protocol.degrade(target, 2), protocol.degrade(auxiliary, 2)
    batch = Batch.of(lr, auxiliary, auxiliary_lr, scale=2, protocol=protocol, target=target, joint=True)
    low = auxiliary_lr.abs().double()
    torch.testing.assert_close(batch.auxiliary_statistics[0].double(), low.mean((1, 2)))
    torch.testing.assert_close(batch.auxiliary_statistics[1].double(), low.std((1, 2)))
    method = load_method("sanet", 2, "quick", joint=True, width=4, groups=1, blocks=1)
    assert isinstance(method, TorchMethod)
    assert method.joint
    blind = batch.without_target()
    assert blind.auxiliary.isnan().all()
    output = method.predict(blind)
    assert isinstance(output, dict)
    assert set(output) == {"target", "auxiliary"}
    assert all(image.shape == (2, 16, 12) and image.isfinite().all() for image in output.values())
    with torch.no_grad():
        _, normalised = method.network(batch.auxiliary_lr_magnitude[:, None], batch.target_lr_magnitude[:, None])
    mean, std = batch.auxiliary_statistics
    expected = (normalised[:, 0] * std[:, None, None] + mean[:, None, None]).clamp_min(0)
    torch.testing.assert_close(output["auxiliary"], expected)
