"""Objects whose k-space is known in closed form, and what to do to them; numpy in double precision, nothing of the engine's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from mcsr_bench.data.inspection import Inspector, findings
from mcsr_bench.plugin.case import Case, Finding, Stored

Complex = NDArray[np.complex128]
Pair = tuple[NDArray[Any], NDArray[Any]]


def to_kspace(x: NDArray[Any]) -> Complex:
    """Centred orthonormal FFT of the last two axes."""
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def to_image(x: NDArray[Any]) -> Complex:
    """Its inverse."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(x, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def ellipses(shape: tuple[int, int], seed: int, contrast: int = 0) -> Complex:
    """The image of a head of ellipses, sampled in k-space as a scanner does: (H, W), real but for rounding, about 1 inside.

    Contrasts of one seed share all borders and have different values in them.
    """
    rng, values = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2, contrast])
    H, W = shape
    ky, kx = np.meshgrid((np.arange(H) - H // 2) / H, (np.arange(W) - W // 2) / W, indexing="ij")
    parts = [(1.0, *rng.uniform(-0.03, 0.03, 2), *rng.uniform(0.3, 0.38, 2), rng.uniform(0, 3))]
    for _ in range(12):
        value = values.choice((-1, 1)) * values.uniform(0.15, 0.35)
        parts.append((value, *rng.uniform(-0.2, 0.2, 2), *rng.uniform(0.02, 0.1, 2), rng.uniform(0, 3)))
    kspace = np.zeros(shape, np.complex128)
    for value, y, x, a, b, angle in parts:
        c, s = np.cos(angle), np.sin(angle)
        q = 2 * np.pi * np.hypot(a * (ky * H * c + kx * W * s), b * (kx * W * c - ky * H * s))
        q = np.maximum(q, 1e-9)
        turn = np.exp(-2j * np.pi * (ky * H * y + kx * W * x))
        kspace += value * 2 * np.pi * a * b * j1(q) / q * turn
    return to_image(kspace * np.sqrt(H * W))


def grid(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns in samples from the centre."""
    y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    return y.astype(np.float64), x.astype(np.float64)


def phase(shape: tuple[int, int], size: float = 1.0) -> Complex:
    """A smooth factor of modulus 1 whose phase bends, up to about ``size`` rad."""
    y, x = grid(shape)
    v, u = y / (shape[0] / 2), x / (shape[1] / 2)
    return np.asarray(np.exp(1j * size * (0.4 + 2 * u * v + 1.5 * v**2 - u**2)))


def noise(shape: Sequence[int], level: float, rng: np.random.Generator) -> Complex:
    """White complex noise, root mean square ``level``."""
    return np.asarray((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * level / np.sqrt(2))


def volume(
    shape: tuple[int, int], slices: int = 3, seed: int = 0, *, level: float = 0.03, phases: bool = True
) -> list[Pair]:
    """Target and auxiliary of a patient: ellipses, smooth phase, noise of ``level`` times the object."""
    rng = np.random.default_rng([seed, 3])
    out = []
    for i in range(slices):
        images = [
            ellipses(shape, 1000 * seed + i, c) * (phase(shape, 1 + c) if phases else 1) + noise(shape, level, rng)
            for c in (0, 1)
        ]
        out.append((images[0], images[1]))
    return out


def keep(kspace: NDArray[Any], n: int, axis: int, shift: int = 0) -> NDArray[Any]:
    """Only ``n`` samples about the centre of one of the last two axes, all else zero."""
    N = kspace.shape[axis]
    mask = np.zeros(N)
    start = N // 2 - n // 2 + shift
    mask[start : start + n] = 1
    return np.asarray(kspace * (mask[:, None] if axis == -2 else mask))


def case(name: str = "p1-v1", n: int = 3, shape: tuple[int, int] = (64, 64), patient: str | None = None) -> Case:
    """A case of two files named after it."""
    return Case(patient or name.split("-")[0], name, n, shape, (f"{name}-t2.h5", f"{name}-t1.h5"))


def inspect(
    pairs: Sequence[Pair],
    who: Case | None = None,
    track: Literal["complex", "magnitude"] = "complex",
    raw: Sequence[Pair] = (),
    stored: tuple[Stored | None, Stored | None] = (None, None),
) -> dict[str, Any]:
    """The facts of a case of these slices (and k-space, (coils, H, W) each)."""
    shape = pairs[0][0].shape
    inspector = Inspector(who or case(n=len(pairs), shape=(shape[0], shape[1])), ("T2", "T1"), track, stored=stored)
    for index, pair in enumerate(pairs):
        inspector.add("target", index, pair[0].astype(np.complex64))
        inspector.add("auxiliary", index, pair[1].astype(np.complex64))
    for index, pair in enumerate(raw):
        inspector.add_raw("target", index, pair[0].astype(np.complex64))
        inspector.add_raw("auxiliary", index, pair[1].astype(np.complex64))
    return inspector.facts()


def magnitudes(pairs: Sequence[Pair]) -> list[Pair]:
    """Without their phase."""
    return [(np.abs(a), np.abs(b)) for a, b in pairs]


def of(facts: dict[str, Any] | Sequence[dict[str, Any]], scales: Sequence[int] = (2, 4)) -> list[Finding]:
    """The findings of one or several cases."""
    return findings([facts] if isinstance(facts, dict) else facts, scales)


def acquired(facts: dict[str, Any], role: str = "target") -> list[int]:
    """How many rows and columns hold energy."""
    return [e["size"] - e["low"] - e["high"] for e in facts["contrasts"][role]["edges"]]
