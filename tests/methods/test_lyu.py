"""Lyu 2020: size and cost against the facts, the progressive levels, and every term of its loss against analytic values."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcsr_bench.errors import UserError
from mcsr_bench.methods.lyu import Lyu
from mcsr_bench.methods.lyu.losses import VGGFeatures, gradient_penalty, gram
from mcsr_bench.methods.lyu.network import Critic, LyuNetwork
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.training import Updater
from mcsr_bench.weights.loading import load_method

ADVERSARIAL = {"pixel_only": False, "adversarial_weight": 0.5, "perceptual_weight": 2.0, "texture_weight": 3.0}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def loaded(scale: int = 2, **settings: Any) -> Lyu:
    small = {"width": 4, "encoder_blocks": 1, "decoder_blocks": 1, "critic_width": 2}
    method = load_method("lyu", scale, "quick", **{**small, **settings})
    assert type(method).__name__ == "Lyu"
    return method  # type: ignore[return-value]


def make_batch(scale: int = 2, lr_shape: tuple[int, int] = (8, 6)) -> Batch:
    protocol, shape = get_protocol("mcsr-1"), (scale * lr_shape[0], scale * lr_shape[1])
    generator = torch.Generator().manual_seed(0)
    target, auxiliary = torch.randn(2, 3, *shape, dtype=torch.complex64, generator=generator) + 2
    lr, auxiliary_lr = protocol.degrade(target, scale), protocol.degrade(auxiliary, scale)
    return Batch.of(lr, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, target=target)


@pytest.fixture
def vgg_file(tmp_path: Path) -> Path:
    """Random weights in the names of VGG-16, with a layer that is not used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = {**VGGFeatures().state_dict(), "classifier.0.weight": torch.ones(2)}
    safetensors.torch.save_file(tensors, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


@pytest.mark.parametrize(("scale", "parameters", "giga_macs"), [(2, 3_473_025, 258.71), (4, 6_946_050, 323.39)])
def test_size_and_cost_of_the_facts(scale: int, parameters: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = LyuNetwork(scale)
        references = [torch.empty(1, 1, 320 // f, 320 // f) for f in ((1,) if scale == 2 else (2, 1))]
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 320 // scale, 320 // scale), references)
    assert count(network) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.001)


def hand_count(width: int, encoder_blocks: int, decoder_blocks: int) -> int:
    """Of one level, from the layer list."""
    same = 9 * width * width + width
    encoder = 10 * width + encoder_blocks * 2 * same
    up = 9 * width * 4 * width + 4 * width
    join = 9 * 2 * width * width + width
    return 2 * encoder + up + join + decoder_blocks * 2 * same + 9 * width + 1


def test_card_has_every_setting_and_the_right_sizes() -> None:
    card = methods().card("lyu")
    assert card.presets.keys() == card.parameters.keys() == {"quick", "small", "paper"}
    for preset, sizes in card.parameters.items():
        one = hand_count(*(card.presets[preset][k] for k in ("width", "encoder_blocks", "decoder_blocks")))
        assert sizes == {"x2": one, "x4": 2 * one, "x8": 3 * one}
        assert card.presets[preset].keys() == methods().load("lyu").Settings.model_fields.keys()
        for scale in (2, 4, 8):
            with torch.device("meta"):
                method = load_method("lyu", scale, preset)
            assert count(method.network) == sizes[f"x{scale}"]  # type: ignore[attr-defined]


def test_quick_and_small_use_the_pixel_loss_alone_and_say_so() -> None:
    card = methods().card("lyu")
    assert [card.presets[p]["pixel_only"] for p in ("quick", "small", "paper")] == [True, True, False]
    assert "pixel loss alone" in loaded().notes()[0]
    assert "vgg_weights" in loaded(**ADVERSARIAL).notes()[0]
    assert set(loaded().training_modules()) == {"network"}


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_level_per_doubling_at_any_shape(scale: int) -> None:
    method, batch = loaded(scale), make_batch(scale, (5, 7))
    images = method.forward(batch)
    assert [tuple(i.shape) for i in images] == [(3, 5 * f, 7 * f) for f in (2, 4, 8) if f <= scale]
    prediction = method.predict(batch.without_target())
    assert isinstance(prediction, torch.Tensor)
    assert prediction.shape == (3, 5 * scale, 7 * scale)


def test_levels_between_get_truncated_auxiliary_and_target() -> None:
    method, batch = loaded(4), make_batch(4)
    assert batch.target is not None
    targets = method.targets(batch)
    middle = get_protocol("mcsr-1").degrade(batch.target, 2).abs()
    mean, std = batch.target_statistics
    torch.testing.assert_close(targets[0], (middle - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(targets[1], batch.target_magnitude)


def test_pixel_loss_by_hand_over_levels() -> None:
    method, batch = loaded(4), make_batch(4)
    targets = [t.double().numpy() for t in method.targets(batch)]
    output = [torch.full(t.shape, 0.5) for t in targets]
    expected = sum(np.mean((0.5 - t) ** 2) for t in targets)
    assert method.loss(output, batch).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_of_a_linear_critic() -> None:
    """For c(x) = <w, x> the gradient is w everywhere: (|w| - 1)^2."""
    weight = torch.arange(12.0).reshape(3, 4) / 10

    class Linear(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, 0] * weight).sum((1, 2))

    found = gradient_penalty(Linear(), torch.randn(2, 1, 3, 4), torch.randn(2, 1, 3, 4))
    assert found.item() == pytest.approx((float(weight.norm()) - 1) ** 2, rel=1e-5)


def test_gram_matrix_by_hand() -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    expected = np.einsum("bchw,bdhw->bcd", features, features) / (3 * 4 * 5)
    np.testing.assert_allclose(gram(torch.from_numpy(features)).numpy(), expected, rtol=1e-10)


def test_generator_and_critic_losses_are_sums_of_their_terms(vgg_file: Path) -> None:
    method, batch = loaded(2, **ADVERSARIAL, vgg_weights=str(vgg_file)), make_batch()
    assert method.critics is not None
    assert method.vgg is not None
    assert method.notes() == []
    [image], [target] = method.forward(batch), method.targets(batch)
    image = image.detach()
    ours, theirs = method.vgg(image[:, None]), method.vgg(target[:, None])
    critic = method.critics[0]
    expected = (
        (image - target).square().mean()
        - 0.5 * critic(image[:, None]).mean()
        + 2 * (ours - theirs).square().mean()
        + 3 * (gram(ours) - gram(theirs)).square().mean()
    )
    assert method.loss([image], batch).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.manual_seed(0)
    found = method.critic_loss([image], batch).item()
    torch.manual_seed(0)
    penalty = gradient_penalty(critic, target[:, None], image[:, None])
    by_hand = critic(image[:, None]).mean() - critic(target[:, None]).mean() + 10 * penalty
    assert found == pytest.approx(by_hand.item(), rel=1e-4)


def test_critic_learns_to_put_real_above_fake() -> None:
    """Without the penalty its loss is mean score of fake less mean score of real, and falls as it trains."""
    method, batch = loaded(4, **ADVERSARIAL, penalty_weight=0.0), make_batch(4)
    assert method.critics is not None
    output, targets = [2 * t + 1 for t in method.targets(batch)], method.targets(batch)

    def margin() -> float:
        assert method.critics is not None
        with torch.no_grad():
            pairs = zip(method.critics, output, targets, strict=True)
            return sum((c(t[:, None]).mean() - c(o[:, None]).mean()).item() for c, o, t in pairs)

    optimizer = torch.optim.Adam(method.critics.parameters(), 1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        method.critic_loss(output, batch).backward()
        optimizer.step()
    assert margin() > 0.1
    assert method.critic_loss(output, batch).item() == pytest.approx(-margin(), rel=1e-3)


def test_critic_layers_by_hand() -> None:
    widths = [1, 64, 64, 128, 128, 256, 256]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    assert count(Critic()) == convolutions + 256 * 1024 + 1024 + 1024 + 1
    assert Critic(2)(torch.randn(3, 1, 17, 24)).shape == (3,)


def test_vgg_is_fixed_and_has_vgg16s_layers() -> None:
    names = [name for name in VGGFeatures().state_dict() if name.endswith("weight")]
    assert names == [f"features.{i}.weight" for i in (0, 2, 5, 7, 10, 12, 14)]
    assert not any(p.requires_grad for p in VGGFeatures().parameters())
    assert VGGFeatures()(torch.randn(2, 1, 16, 24)).shape == (2, 256, 4, 6)


@pytest.mark.parametrize("kind", ["absent", "text", "other"])
def test_bad_vgg_files_get_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "vgg.pt"
    if kind == "text":
        path.write_text("not weights")
    if kind == "other":
        torch.save({"features.0.weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"--set lyu\.vgg_weights=.*vgg\.pt"):
        loaded(**ADVERSARIAL, vgg_weights=str(path))


def test_adversarial_training_steps_and_reaches_every_parameter(vgg_file: Path) -> None:
    method, batch = loaded(4, **ADVERSARIAL, vgg_weights=str(vgg_file)), make_batch(4)
    update = Updater(method)
    assert set(update.optimizers) == set(method.training_modules()) == {"network", "critic"}
    before = {n: p.detach().clone() for n, p in method.network.named_parameters()}
    numbers = method.training_step(batch, update)
    assert set(numbers) == {"loss", "critic_loss"}
    assert all(not torch.equal(p, before[n]) for n, p in method.network.named_parameters())
    for module in method.training_modules().values():
        named = [(n, p.grad) for n, p in module.named_parameters() if not n.endswith("score.2.bias")]
        assert all(g is not None and g.abs().max() > 0 for _, g in named)


def test_pixel_training_lowers_the_loss() -> None:
    method, batch = loaded(), make_batch()
    update = Updater(method)
    losses = [method.training_step(batch, update)["loss"] for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]
