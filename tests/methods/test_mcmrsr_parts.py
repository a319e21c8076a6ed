"""Parts of McMRSR: window attention, what matching must find, and aggregation (whole: test_mcmrsr_published.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mcsr_bench.methods.mcmrsr import attention, matching
from mcsr_bench.methods.mcmrsr.aggregation import JointResidualAggregation, SpatialAdaptation
from mcsr_bench.methods.mcmrsr.attention import (
    SwinBlock,
    WindowAttention,
    from_windows,
    relative_index,
    shift_mask,
    to_windows,
)
from mcsr_bench.methods.mcmrsr.matching import match

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
    x = torch.arange(2 * 8 * 16 * 6.0).reshape(2, 8, 16, 6)
    windows = to_windows(x, 4, 2)
    assert windows.shape == (2, 8, 2, 16, 3)
    # The second row of windows, its third window; the second head; row 1, column 3 of the window.
    assert torch.equal(windows[1, 6, 1, 7], x[1, 5, 11, 3:])
    assert torch.equal(from_windows(windows, 4, x.shape), x)
    index = relative_index(3)
    assert index[0, 0] == index[4, 4] == 12  # no displacement: the middle of 5 x 5
    assert index[0, 8] == 0
    assert index[8, 0] == 24
    assert len(torch.unique(index)) == 25


def test_attention_has_no_subnormal_weights() -> None:
    """exp(-100), of the published mask, is one: with those a processor multiplies several times more slowly."""
    mask = shift_mask(16, 16, 8, 4, torch.device("cpu"))
    weights = (torch.randn(mask.shape, generator=torch.Generator().manual_seed(0)) + mask).softmax(-1)
    assert weights.sum(-1).sub(1).abs().max() < 1e-6
    assert (weights == 0).any()
    assert weights[weights > 0].min() > torch.finfo(torch.float32).tiny


def test_stochastic_depth_keeps_the_expectation_and_is_off_when_predicting() -> None:
    torch.manual_seed(0)
    block = SwinBlock(4, 1, 4, shifted=False, drop_path=0.5)
    x, branch = torch.full((4000, 1, 1, 1), 3.0), torch.ones(4000, 1, 1, 1)
    kept = block.train()._with(x, branch) - x
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(block.eval()._with(x, branch), x + branch)


def test_large_images_give_the_same_gradient_from_less_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, and with the same branches dropped: a block is computed again as it was."""
    group = attention.SwinGroup(8, 2, 2, 4, [0.5, 0.5])
    image = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for large in (1000, 63):
        monkeypatch.setattr(attention, "LARGE", large)
        held: list[int] = []
        torch.manual_seed(0)
        group.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(lambda x, held=held: held.append(x.numel()) or x, lambda x: x):
            loss = group(image.clone().requires_grad_()).square().sum()
        loss.backward()
        found.append(([p.grad.clone() for p in group.parameters()], sum(held)))
    (usual, all_held), (again, held_less) = found
    assert all(map(torch.equal, usual, again))
    assert held_less < all_held / 3


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


def test_a_block_copied_from_far_away_is_fetched_exactly() -> None:
    """The auxiliary is noise but for one block of the target with its surroundings, planted 24 and 16 LR pixels from home."""
    generator = torch.Generator().manual_seed(4)
    target = torch.randn(2, 5, 40, 40, generator=generator)
    auxiliary = torch.randn(2, 5, 40, 40, generator=generator)
    high = torch.randn(2, 5, 160, 160, generator=generator)
    auxiliary[1, :, 24:38, 18:32] = target[1, :, 5:19, 5:19]  # block rows and columns 8..15 with a rim of 3
    first, second = match(target, auxiliary, [auxiliary, high])
    there, home = (1, slice(None), slice(27, 35), slice(21, 29)), (1, slice(None), slice(8, 16), slice(8, 16))
    torch.testing.assert_close(auxiliary[there], target[home], rtol=0, atol=0)
    # At 1x all overlapping neighbourhoods agree; at 4x they are the place's own, times a similarity of 1 inside the block.
    torch.testing.assert_close(first[home], target[home], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second[1, :, 36:60, 36:60], high[1, :, 112:136, 88:112], atol=1e-5, rtol=1e-5)


def test_matching_in_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are searched a few at a time to bound memory, also across the images of a batch."""
    target, auxiliary = torch.randn(2, 3, 4, 16, 24, generator=torch.Generator().manual_seed(5))
    levels = [auxiliary, torch.randn(3, 4, 32, 48)]
    whole = match(target, auxiliary, levels)
    monkeypatch.setattr(matching, "_CHUNK", 5)
    for one, two in zip(whole, match(target, auxiliary, levels), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6)


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
