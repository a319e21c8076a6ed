"""The shared blocks against hand counts and against numpy and scipy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.nn import (
    ChannelAttention,
    ChannelAttentionBlock,
    ResidualBlock,
    ResidualGroup,
    ShiftedConv,
    sub_pixel_upsampler,
)
from mcsr_bench.nn.blocks import SpatialMean
from mcsr_bench.nn.two_branch import (
    ChannelConv,
    ChannelSpatialAttention,
    ConcatFusion,
    ContrastReadout,
    StageIntegration,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_blocks_have_the_published_sizes() -> None:
    assert count(ChannelAttention(64)) == 64 * 4 + 4 + 4 * 64 + 64 == 580
    assert count(ChannelAttentionBlock(64)) == 2 * 36_928 + 580 == 74_436
    assert count(ResidualGroup(64, 6)) == 6 * 74_436 + 36_928 == 483_544
    assert count(ChannelSpatialAttention("released")) == 29
    assert count(ChannelSpatialAttention("paper")) == 28
    assert count(StageIntegration("released")) == 1
    assert count(StageIntegration("paper")) == 0
    assert count(ConcatFusion(64)) == 8_256
    assert count(ResidualBlock(64)) == 73_856


@pytest.mark.parametrize(
    ("scale", "parameters"),
    [(2, 147_712), (3, 64 * 576 * 9 + 576), (4, 2 * 147_712), (8, 3 * 147_712)],
)
def test_upsampler_size_and_shape(scale: int, parameters: int) -> None:
    assert count(sub_pixel_upsampler(64, scale)) == parameters
    assert sub_pixel_upsampler(2, scale)(torch.zeros(1, 2, 5, 3)).shape == (1, 2, 5 * scale, 3 * scale)


def test_upsampler_refuses_other_scales() -> None:
    with pytest.raises(ValueError, match=r"no sub-pixel up-sampling for scale 6"):
        sub_pixel_upsampler(4, 6)


def test_channel_attention_against_numpy() -> None:
    block = ChannelAttention(32).double()
    x = torch.randn(2, 32, 5, 7, dtype=torch.float64)
    w1, b1, w2, b2 = (p.detach().numpy() for p in block.parameters())
    mean = x.numpy().mean((2, 3))
    gate = sigmoid(np.maximum(mean @ w1[:, :, 0, 0].T + b1, 0) @ w2[:, :, 0, 0].T + b2)
    np.testing.assert_allclose(block(x).detach().numpy(), x.numpy() * gate[:, :, None, None], rtol=1e-12)


def test_a_shift_acts_on_the_image_and_not_on_the_padding() -> None:
    """Weights of (x + constant of its channel), padded with zeros after the sum; correlated in float64."""
    rng = np.random.default_rng(5)
    x, weight, constants = rng.normal(size=(2, 6, 7)), rng.normal(size=(3, 2, 3, 3)), np.array([0.7, -2.0])
    layer = ShiftedConv(2, 3).double()
    folded = np.einsum("ocij,c->oij", weight, constants)[:, None]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.concatenate((weight, folded), 1)))
        found = (layer(torch.from_numpy(x)[None])[0] - layer.bias[:, None, None]).numpy()  # type: ignore[index]
    for out, kernels in zip(found, weight, strict=True):
        terms = zip(x, constants, kernels, strict=True)
        expected = sum(correlate(image + c, kernel, mode="constant") for image, c, kernel in terms)
        np.testing.assert_allclose(out, expected, atol=1e-12)


def test_residual_factor_scales_the_residual_alone() -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(4, 0.1), torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x) - x, 0.1 * block.body(x))


@pytest.mark.parametrize("mean_energies", [False, True])
@pytest.mark.parametrize("form", ["released", "paper"])
def test_integration_against_numpy(form: str, mean_energies: bool) -> None:
    """N = 4 maps of 3 x 5 x 2 values: softmax over the row, its sign, the residual and the channel order."""
    module = StageIntegration(form, mean_energies=mean_energies)  # type: ignore[arg-type]
    maps = np.random.default_rng(0).normal(size=(2, 4, 3, 5, 2)) * 0.3
    x = maps.reshape(2, 4, 30)
    energies = np.einsum("bnk,bmk->bnm", x, x) / (30 if mean_energies else 1)
    if form == "paper":
        expected = softmax(energies) @ x + x
    else:
        assert module.gamma is not None
        nn.init.constant_(module.gamma, -0.7)
        expected = -0.7 * softmax(energies.max(-1, keepdims=True) - energies) @ x + x
    for layout in (torch.contiguous_format, torch.channels_last):
        given = [torch.from_numpy(maps[:, i]).float().contiguous(memory_format=layout) for i in range(4)]
        out = module(given).detach().numpy()
        np.testing.assert_allclose(out, expected.reshape(2, 12, 5, 2), atol=2e-6)
    assert np.abs(expected - x).max() > 0.1  # otherwise nothing was compared


def test_integration_forms_favour_opposite_maps() -> None:
    flat = torch.tensor([[[3.0, 0.0], [2.9, 0.1], [0.0, 1.0]]])
    assert StageIntegration("paper").weights(flat)[0, 0].argmax() == 0  # most similar: itself
    assert StageIntegration("released").weights(flat)[0, 0].argmax() == 2  # least similar


def test_integration_energies_stay_in_single_precision_under_autocast() -> None:
    flat = torch.randn(1, 3, 4096, generator=torch.Generator().manual_seed(0)) * 0.05
    module = StageIntegration("paper")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = module.weights(flat)
        half = (flat @ flat.transpose(1, 2)).float().softmax(-1)
    x = flat[0].double().numpy()
    np.testing.assert_allclose(weights[0].numpy(), softmax(x @ x.T), rtol=1e-4)
    assert not np.allclose(half[0].numpy(), softmax(x @ x.T), rtol=1e-4)  # what it guards against


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_channel_convolution_and_its_gradients_are_those_of_a_convolution_in_3d(channels: int) -> None:
    torch.manual_seed(0)
    module = ChannelConv().double()
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = [x, *module.parameters()]
    outer = torch.randn_like(x)
    written = nn.functional.conv3d(x[:, None], module.weight, module.bias, padding=1)[:, 0]
    found = [g.numpy() for g in torch.autograd.grad(module(x), weights, outer)]
    for ours, theirs in zip(found, torch.autograd.grad(written, weights, outer), strict=True):
        assert np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)
    counted = FlopCounterMode(display=False)
    with counted, torch.device("meta"):
        ChannelConv()(torch.empty(2, channels, 5, 4))
    assert counted.get_total_flops() == 2 * 27 * x.numel()  # what is published, not the zeros of a band


def test_the_gradient_of_a_mean_is_one_number_per_channel() -> None:
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    outer = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    np.testing.assert_allclose(SpatialMean()(x).detach().numpy(), x.detach().numpy().mean((2, 3), keepdims=True))
    [gradient] = torch.autograd.grad(SpatialMean()(x), x, outer)
    np.testing.assert_allclose(gradient.numpy(), np.broadcast_to(outer.numpy() / 20, x.shape))
    assert gradient.stride()[2:] == (0, 0)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_channel_spatial_attention_against_scipy(form: str) -> None:
    module = ChannelSpatialAttention(form).double()  # type: ignore[arg-type]
    gamma = 1.0
    if module.gamma is not None:
        gamma = 0.6
        nn.init.constant_(module.gamma, gamma)
    assert module.conv.bias is not None
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    kernel = module.conv.weight.detach().numpy()[0, 0]
    for image, out in zip(x.numpy(), module(x).detach().numpy(), strict=True):
        q = sigmoid(correlate(image, kernel, mode="constant") + module.conv.bias.item())
        np.testing.assert_allclose(out, image + image * gamma * q, rtol=1e-10)


def test_gates_start_closed() -> None:
    x = [torch.randn(2, 3, 4, 4) for _ in range(3)]
    assert torch.equal(StageIntegration("released")(x), torch.cat(x, 1))
    assert torch.equal(ChannelSpatialAttention("released")(x[0]), x[0])
    gammas = ContrastReadout(4, 2).gammas()
    assert gammas == {"gamma_integration": 0, "gamma_target_attention": 0, "gamma_auxiliary_attention": 0}
    assert ContrastReadout(4, 2, integration="paper", attention="none").gammas() == {}


def test_concat_fusion_against_numpy() -> None:
    fusion = ConcatFusion(3).double()
    a, t = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64).unbind()
    weight, bias = (p.detach().numpy() for p in fusion.parameters())
    mixed = np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], np.concatenate((a.numpy(), t.numpy()), 1))
    np.testing.assert_allclose(fusion(a, t).detach().numpy(), t.numpy() + mixed + bias[:, None, None], rtol=1e-12)
