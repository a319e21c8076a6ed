"""zerofill, bicubic, bspline against numpy and scipy in float64, and against each other's known order on a smooth image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mcsr_bench import load_method
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import MCSR_1, SANET_2021, Protocol

NAMES = ("zerofill", "bicubic", "bspline")


def batch_of(low: NDArray[np.complexfloating], scale: int, protocol: Protocol = MCSR_1) -> Batch:
    """A batch for predicting whose LR slices are ``low`` (B, h, w)."""
    B, h, w = low.shape
    auxiliary = torch.zeros((B, h * scale, w * scale), dtype=torch.complex64)
    lr = torch.from_numpy(low.astype(np.complex64))
    return Batch.of(
        target_lr=lr, auxiliary=auxiliary, auxiliary_lr=torch.zeros_like(lr), scale=scale, protocol=protocol
    )


def predict(name: str, batch: Batch) -> NDArray[np.generic]:
    output = load_method(name, batch.scale).predict(batch)
    assert isinstance(output, torch.Tensor)
    return output.numpy()


def positions(size: int, lr_size: int) -> NDArray[np.float64]:
    """The positions of HR samples among LR ones when the samples size//2 and lr_size//2 coincide."""
    return np.array([lr_size // 2 + (j - size // 2) * lr_size / size for j in range(size)])


def keys(distance: float, a: float = -0.75) -> float:
    """Keys' cubic convolution kernel."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def convolution_matrix(size: int, lr_size: int) -> NDArray[np.float64]:
    """(size, lr_size): cubic convolution along one axis, samples beyond an edge equal to the edge's."""
    out = np.zeros((size, lr_size))
    for j, at in enumerate(positions(size, lr_size)):
        for k in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            out[j, min(max(k, 0), lr_size - 1)] += keys(at - k)
    return out


@pytest.mark.parametrize(("shape", "scale"), [((2, 6, 9), 2), ((1, 5, 8), 4), ((1, 7, 7), 3)])
def test_bicubic_is_cubic_convolution_on_the_kspace_grid(shape: tuple[int, int, int], scale: int) -> None:
    low = np.random.default_rng(0).uniform(0.5, 2, size=shape)
    rows, columns = (convolution_matrix(n * scale, n) for n in shape[1:])
    expected = np.maximum(rows @ low @ columns.T, 0)
    np.testing.assert_allclose(predict("bicubic", batch_of(low + 0j, scale)), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("shape", "scale"), [((2, 12, 10), 2), ((1, 8, 12), 4)])
def test_bspline_is_the_interpolating_spline_on_the_kspace_grid(shape: tuple[int, int, int], scale: int) -> None:
    """scipy's piecewise-polynomial spline through the mirrored samples, axis after axis."""
    low = np.random.default_rng(1).uniform(0.5, 2, size=shape)

    def along(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        n = x.shape[axis]
        mirrored = np.concatenate([x, np.flip(x, axis)], axis).take(
            [*range(n), *range(n + 1, 2 * n - 1)], axis
        )  # one period, edge samples once
        spline = CubicSpline(
            np.arange(2 * n - 1), np.concatenate([mirrored, mirrored.take([0], axis)], axis), axis, "periodic"
        )
        return np.asarray(spline(positions(n * scale, n)))

    expected = np.maximum(along(along(low, 1), 2), 0)
    np.testing.assert_allclose(predict("bspline", batch_of(low + 0j, scale)), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("shape", "scale"), [((2, 6, 8), 2), ((1, 5, 8), 4), ((1, 7, 5), 3)])
def test_zerofill_is_the_fourier_series_of_the_lr_image(shape: tuple[int, int, int], scale: int) -> None:
    """The LR samples' Fourier series, summed term by term at the HR positions."""
    rng = np.random.default_rng(2)
    low = rng.normal(size=shape) + 1j * rng.normal(size=shape)

    def series(lr_size: int) -> NDArray[np.complex128]:
        frequency = np.arange(lr_size) - lr_size // 2
        analysis = np.exp(-2j * np.pi * np.outer(frequency, np.arange(lr_size)) / lr_size) / lr_size
        synthesis = np.exp(2j * np.pi * np.outer(positions(lr_size * scale, lr_size), frequency) / lr_size)
        return synthesis @ analysis

    expected = series(shape[1]) @ low @ series(shape[2]).T
    np.testing.assert_allclose(predict("zerofill", batch_of(low, scale)), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_what_was_truncated_comes_back_where_it_was(name: str, scale: int) -> None:
    """A band-limited image is recovered in place: no half-pixel shift, no change of brightness."""
    n = 24
    y, x = np.mgrid[: n * scale, : n * scale] / (n * scale) * 2 * np.pi
    image = (2 + 0.5 * np.cos(x + 0.3) + 0.4 * np.sin(y - 1.1) + 0.2 * np.cos(x - 2 * y))[None] * np.exp(0.4j)
    low = MCSR_1.degrade(torch.from_numpy(image), scale).numpy()
    error = np.abs(np.abs(predict(name, batch_of(low, scale))) - np.abs(image))
    inner = error[:, 7 * scale : -7 * scale, 7 * scale : -7 * scale]  # the interpolators guess what lies beyond an edge
    limit = {"zerofill": 1e-5, "bspline": 1e-3, "bicubic": 0.03}[name]
    assert inner.max() < limit  # a shift of half a pixel would be an error of 0.07 to 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_published_protocols_brighter_lr_is_undone(name: str) -> None:
    low = np.full((1, 8, 8), 4 * 1.5 + 0j)  # what the orthonormal crop makes of a constant 1.5 at 4x
    np.testing.assert_allclose(np.abs(predict(name, batch_of(low, 4, SANET_2021))), 1.5, rtol=1e-5)


def test_zero_filling_of_magnitudes_is_that_of_numpy_and_loses_the_phase() -> None:
    rng = np.random.default_rng(4)
    low = rng.normal(size=(2, 8, 6)) + 1j * rng.normal(size=(2, 8, 6))
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(np.abs(low), axes=(1, 2))), axes=(1, 2))
    padded = np.pad(spectrum, ((0, 0), (4, 4), (3, 3)))
    expected = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(padded, axes=(1, 2))), axes=(1, 2))) * 4
    method = load_method("zerofill", 2, input="magnitude")
    found = method.predict(batch_of(low, 2))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert found.dtype == torch.float32  # a magnitude, to which scoring lends a phase
    turned = method.predict(batch_of(low * np.exp(1j * rng.uniform(0, 6, low.shape)), 2))
    assert isinstance(turned, torch.Tensor)
    np.testing.assert_allclose(turned.numpy(), found.numpy(), atol=1e-5)
    assert (method.track, load_method("zerofill", 2).track) == ("magnitude", "complex")
