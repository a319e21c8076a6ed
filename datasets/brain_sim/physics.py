"""From tissues to complex MR images: spin-echo signal, coil shading, phase, the acquired part of k-space, receiver noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .fields import Bounds, Float, random_field


class Tissue(NamedTuple):
    """Relaxation times in ms and proton density (water = 1)."""

    t1: float
    t2: float
    pd: float


# Typical values at 3 T.
TISSUES: dict[str, Tissue] = {
    "white": Tissue(850, 72, 0.70),
    "grey": Tissue(1350, 92, 0.82),
    "csf": Tissue(4200, 700, 1.00),
    "ventricle": Tissue(4200, 700, 1.00),  # CSF too, but it hardly flows
    "fat": Tissue(370, 110, 0.95),
    "muscle": Tissue(1150, 42, 0.74),
    "bone": Tissue(500, 2, 0.06),
    "lesion": Tissue(1450, 150, 0.86),
}


class Sequence(NamedTuple):
    """A spin-echo sequence, times in ms; with ``ti`` an inversion pulse precedes it. ``fat``: the share of fat's signal left."""

    tr: float
    te: float
    ti: float | None = None
    fat: float = 1.0


# T1w is prepared by inversion, with fat saturation, as is common at 3 T: a plain spin echo (500/12) has hardly any contrast between
# grey and white matter there, and the truncation artefacts of a scalp three times as bright as the brain hide what it has.
SEQUENCES: dict[str, Sequence] = {
    "T2w": Sequence(4500, 95),
    "T1w": Sequence(2000, 12, 900, fat=0.05),
    "PDw": Sequence(3000, 22),
    "FLAIR": Sequence(9000, 110, 2500),
}


def spin_echo(tissue: Tissue, sequence: Sequence) -> float:
    """Signal of a spin echo: PD (1 - exp(-TR/T1)) exp(-TE/T2); with inversion PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)."""
    recovery = 1 - np.exp(-sequence.tr / tissue.t1)
    if sequence.ti is not None:
        recovery = abs(1 - 2 * np.exp(-sequence.ti / tissue.t1) + np.exp(-sequence.tr / tissue.t1))
    return float(tissue.pd * recovery * np.exp(-sequence.te / tissue.t2))


def signals(tissues: dict[str, Tissue], sequence: Sequence) -> dict[str, float]:
    """What every tissue gives in a sequence: `spin_echo`, of fat what the saturation leaves."""
    return {name: spin_echo(t, sequence) * (sequence.fat if name == "fat" else 1.0) for name, t in tissues.items()}


def vary(tissue: Tissue, rng: np.random.Generator, spread: float = 0.05) -> Tissue:
    """The tissue of one subject: each value times a factor drawn evenly from 1 - spread to 1 + spread."""
    return Tissue(*(float(v * f) for v, f in zip(tissue, rng.uniform(1 - spread, 1 + spread, 3), strict=True)))


class Receiver:
    """What one acquisition puts on the object: smooth coil shading and phase, its own for every contrast.

    Shading is the exponential of a polynomial of second order (about +-20 %); phase is a constant, a slope (about 1 rad over
    half the field of view) and a smooth random field (0.6 rad, structures of about 10 cm). ``bounds``: the scanned box.
    """

    def __init__(self, rng: np.random.Generator, bounds: Bounds) -> None:
        self._centre = [(low + high) / 2 for low, high in bounds[1:]]
        self._half = (bounds[1][1] - bounds[1][0]) / 2
        self._slope = rng.uniform(-0.08, 0.08, 2)
        self._curvature = rng.uniform(-0.10, 0.05, 2)
        self._offset = rng.uniform(-np.pi, np.pi)
        self._ramp = rng.normal(0, 1.0, 2)
        self._smooth = random_field(rng, 45.0, bounds)

    def on_plane(self, z: float, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.complex64]:
        """The complex factor on rows ``y`` and columns ``x`` (mm) of the plane at ``z`` mm: complex64 (len(y), len(x))."""
        v, u = (y[:, None] - self._centre[0]) / self._half, (x[None, :] - self._centre[1]) / self._half
        shading = self._slope[0] * v + self._slope[1] * u + self._curvature[0] * v**2 + self._curvature[1] * u**2
        phase = (
            self._offset + self._ramp[0] * v + self._ramp[1] * u + 0.6 * self._smooth.on_grid(np.array([z]), y, x)[0]
        )
        return np.exp(shading + 1j * phase).astype(np.complex64)


class OwnTexture:
    """What only one contrast shows, so that the other cannot tell all of it: CSF that flows, uneven muscle, fat and marrow.

    Flow between excitation and echo takes signal from outer CSF, the more the longer the echo time; it varies over a centimetre.
    The texture of brain tissue is not here: more or less myelin changes PD, T1 and T2 together, so that it belongs to the anatomy
    and every contrast shows it in its own way.
    """

    def __init__(self, rng: np.random.Generator, sequence: Sequence, bounds: Bounds) -> None:
        self._flow_loss = 0.12 if sequence.te > 60 else 0.05
        self._csf, self._rest = (random_field(rng, spacing, bounds) for spacing in (6.0, 4.5))

    def on_plane(self, z: float, y: NDArray[np.float64], x: NDArray[np.float64]) -> dict[str, Float]:
        """Factors on the signal of the tissues concerned on one plane (mm): float32 (len(y), len(x)), not negative."""
        csf, rest = (f.on_grid(np.array([z]), y, x)[0] for f in (self._csf, self._rest))
        liquid = np.clip(1 - np.float32(self._flow_loss) * (1 + csf / 2), 0.3, 1)
        other = np.clip(1 + np.float32(0.15) * rest, 0.5, 1.5)
        return {"csf": liquid, "ventricle": (3 + liquid) / 4, "fat": other, "muscle": other, "bone": other}


def acquire(image: NDArray[np.complex64], size: int) -> NDArray[np.complex64]:
    """The image (size, size) that a scanner with a ``size`` x ``size`` k-space matrix makes of a finer object (M, M).

    Keeps k-space samples from M // 2 - size // 2 on; amplitudes are kept (a constant stays that constant).
    """
    # scipy's transform and not torch's: its bytes do not depend on the number of threads
    fine = image.shape[-1]
    start = fine // 2 - size // 2
    kspace = np.fft.fftshift(fft.fft2(np.fft.ifftshift(image), norm="ortho"))[
        start : start + size, start : start + size
    ]
    low = np.fft.fftshift(fft.ifft2(np.fft.ifftshift(kspace), norm="ortho"))
    return (low * np.float32(size / fine)).astype(np.complex64)


def receiver_noise(rng: np.random.Generator, size: int, deviation: float) -> NDArray[np.complex64]:
    """White complex Gaussian noise (size, size) whose root mean square magnitude is ``deviation``.

    An orthonormal transform leaves it white and of the same strength, so it may be added to image or k-space.
    """
    parts = rng.standard_normal((2, size, size)) * (deviation / np.sqrt(2))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)
