"""McMRSR against the published network in numpy (helpers/published_mcmrsr.py): matching at the border, whole, and imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import published_mcmrsr as published
import pytest
import torch
from numpy.typing import NDArray
from published_mcmrsr import Array, Weights

from mcsr_bench.methods.mcmrsr.matching import coarse_positions, enlarged, match, regions, transfer
from mcsr_bench.methods.mcmrsr.network import McMRSRNetwork
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import get_protocol
from mcsr_bench.weights.importing import import_weights, released
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.rules import computed
from mcsr_bench.weights.rules import match as matching_names
from mcsr_bench.weights.tensors import load_weights

SIZES: dict[str, Any] = {"width": 4, "groups": 2, "depth": 2, "heads": 2, "blocks": (2, 1, 1)}


def weights(seed: int = 0) -> Weights:
    """Random values, not so small that the network is linear in them."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape) * (0.8 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.3)
        for name, shape in published.shapes(**SIZES).items()
    }


def features(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def close(found: torch.Tensor, expected: Array, tolerance: float = 1e-9) -> None:
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


# --- matching


@pytest.mark.parametrize(("h", "w"), [(8, 8), (8, 24), (16, 16), (24, 16)])
def test_matching_of_every_block_at_every_scale(h: int, w: int) -> None:
    """In maps of 8 pixels the region is the map, in those of 16 it has two places; every block borders on an edge."""
    target, low = features(2, 3, h, w)
    levels = [low, features(3, 2 * h, 2 * w, seed=1), features(3, 4 * h, 4 * w, seed=2)]
    found = match(*(torch.from_numpy(x)[None] for x in (target, low)), [torch.from_numpy(x)[None] for x in levels])
    top, left = coarse_positions(torch.from_numpy(target)[None], torch.from_numpy(low)[None])
    corners = [published.region_corner(target, low, block) for block in np.ndindex(h // 8, w // 8)]
    assert list(zip(top[0].tolist(), left[0].tolist(), strict=True)) == corners
    for one, expected in zip(found, published.matched(target, low, levels), strict=True):
        close(one[0], expected)


@pytest.mark.parametrize("row", [4, 20, 36])
@pytest.mark.parametrize("column", [4, 20, 36])
def test_a_region_ends_where_the_map_does(row: int, column: int) -> None:
    """The middle of the target's block (2, 2) is planted in the middle, at an edge or in a corner of another map of 40 pixels."""
    target, low = features(2, 3, 40, 40)
    low[:, row - 3 : row + 4, column - 3 : column + 4] = target[:, 17:24, 17:24]
    top, left = coarse_positions(torch.from_numpy(target)[None], torch.from_numpy(low)[None])
    first = {4: 0, 20: 13, 36: 25}
    assert (int(top[0, 12]), int(left[0, 12])) == (first[row], first[column])
    found = regions(torch.from_numpy(low)[None], top[:, [12]], left[:, [12]])
    np.testing.assert_array_equal(found[0], low[:, first[row] : first[row] + 15, first[column] : first[column] + 15])
    # Every pixel (i, j) of the block is matched with the pixel (i + 2, j + 1) inside the region's rim: the region, cut out.
    index = torch.tensor([[(i + 2) * 13 + j + 1 for i in range(8) for j in range(8)]])
    for factor in (1, 2, 4):
        level = features(2, 40 * factor, 40 * factor, seed=3)
        found = transfer(torch.from_numpy(level)[None], top[:, [12]], left[:, [12]], index, factor)
        rows, columns = (slice(factor * a, factor * (a + 8)) for a in (first[row] + 3, first[column] + 2))
        np.testing.assert_allclose(found[0], level[:, rows, columns], rtol=1e-12)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_similarities_are_enlarged_block_by_block(factor: int) -> None:
    """Corner on corner: a block's edge values stay at its edge, and no block sees its neighbour."""
    similarity = features(3, 8, 8)
    found = enlarged(torch.from_numpy(similarity), factor)
    assert found.shape == (3, 1, 8 * factor, 8 * factor)
    for one, block in zip(found[:, 0].numpy(), similarity, strict=True):
        np.testing.assert_allclose(one, published.enlarged(block, factor), atol=1e-12)
        np.testing.assert_allclose(one[[0, 0, -1, -1], [0, -1, 0, -1]], block[[0, 0, -1, -1], [0, -1, 0, -1]])


# --- the network


def network_of(s: Weights, scale: int) -> torch.nn.Module:
    """The network with a checkpoint's values in double precision, by the rules of the import."""
    rules = released("mcmrsr")
    network = McMRSRNetwork(scale, shifted_input=True, **SIZES)  # type: ignore[arg-type]
    state = {name: torch.from_numpy(value) for name, value in s.items()}
    matching = matching_names(state, network.double().state_dict(), (), rules, scale)
    assert matching.complete
    network.load_state_dict({e.ours: computed(matching.rules[e.ours], e.name, state) for e in matching.matched})
    return network.eval()


@pytest.mark.parametrize(
    ("scale", "h", "w"), [(2, 8, 8), (2, 16, 24), (2, 24, 24), (2, 64, 64), (4, 8, 8), (4, 16, 16)]
)
def test_the_whole_network(scale: int, h: int, w: int) -> None:
    """To the last pixel of the border; v is z * 0.2 * scale, at the input and at the output."""
    s, gain = weights(), 0.2 * scale
    target, low, high = features(2, h, w), features(2, h, w, seed=1), features(2, scale * h, scale * w, seed=2)
    with torch.no_grad():
        found = network_of(s, scale)(*(torch.from_numpy(v / gain)[None] for v in (target, low, high)))
    close(gain * found[0], published.run(s, target, low, high, scale))


# --- imported weights in use


def smooth(n: int, seed: int) -> NDArray[np.complex128]:
    """An image with content to its very border."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:n, :n] / n
    waves = [a * np.cos(2 * np.pi * (f * y + g * x) + p) for a, f, g, p in rng.uniform(0.3, 4, size=(12, 4))]
    return (2 + sum(waves) / 8) * np.exp(1j * (y + 2 * x)) + 0.05 * (
        rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    )


@pytest.mark.parametrize("protocol", ["mcsr-1", "sanet-2021"])
@pytest.mark.parametrize("scale", [2, 4])
def test_an_imported_bundle_predicts_what_the_published_pipeline_does(
    scale: int, protocol: str, tmp_path: Path
) -> None:
    """Images in, image out, each protocol's degradation and units in numpy: 1e-4 rms, as single precision leaves."""
    n, chosen, s = 32 * scale // 2, get_protocol(protocol), weights(seed=4)
    torch.save({"net_G_I": {name: torch.from_numpy(v).float() for name, v in s.items()}}, tmp_path / "theirs.pth")
    blocks = list(SIZES["blocks"])
    outcome = import_weights(
        "mcmrsr", tmp_path / "theirs.pth", tmp_path / "bundle", scale=scale, settings={"blocks": blocks}
    )
    method = load_method("mcmrsr", scale, outcome.preset, **{**outcome.settings, "consistency": False})
    load_weights(method, tmp_path / "bundle" / "weights.safetensors")

    images = [smooth(n, seed) for seed in (0, 1)]
    kept = chosen.keep_amplitude
    low = [truncated(image, n // scale) / (scale if kept else 1) for image in images]
    units = [np.abs(low[0]).std(ddof=1), np.abs(images[1] if kept else low[1]).std(ddof=1)]
    gain = 0.2 * scale
    v = [gain * image / unit for image, unit in ((low[0], units[0]), (low[1], units[1]), (images[1], units[1]))]
    real, imaginary = published.run(s, *(np.stack((x.real, x.imag)) for x in v), scale)
    expected = (real + 1j * imaginary) / gain * units[0]

    given = [torch.from_numpy(x.astype(np.complex64))[None] for x in (low[0], images[1], low[1])]
    found = method.predict(Batch.of(*given, scale=scale, protocol=chosen))
    assert isinstance(found, torch.Tensor)
    error = found[0].numpy() - expected
    assert np.sqrt((np.abs(error) ** 2).mean() / (np.abs(expected) ** 2).mean()) < 1e-4


def truncated(image: NDArray[np.complex128], n: int) -> NDArray[np.complex128]:
    """The orthonormal centred crop of k-space to n x n, back to an image."""
    k, first = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho")), len(image) // 2 - n // 2
    centre = k[first : first + n, first : first + n]
    return np.asarray(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(centre), norm="ortho")))
