"""A simulated subject: anatomy, tissue values, spin-echo contrasts, phase, acquisition, noise. Pure functions of the seed."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Names
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .anatomy import SCAN, TISSUE_NAMES, Subject
from .motion import Displacement, displaced, misaligned, residual
from .physics import (
    SEQUENCES,
    TISSUES,
    OwnTexture,
    Receiver,
    acquire,
    receiver_noise,
    signals,
    vary,
)

BRAIN = "brain"
"""The key of the brain's mask among the images."""
_INSIDE = [TISSUE_NAMES.index(name) for name in ("white", "grey", "csf", "ventricle", "lesion")]

RECIPE = 2
"""Raised when the same seed gives other images."""

FIELD_OF_VIEW = 230.0  # mm, square
THICKNESS = 4.0  # mm
PLANES = 5  # through-plane samples of one slice
LOWEST, HIGHEST = (
    8.0,
    50.0,
)  # mm, the levels between which slices are: basal ganglia to centrum semiovale; inside `SCAN`
_LEVEL_JITTER = 4.0  # mm
_CENTRE = (-18.0, 0.0)  # mm (y, x) of the centre of the field of view
_FINEST = 192  # the object is sampled on at least this many points per side
_NOISE = (0.012, 0.024)  # of the 99th percentile

# One independent random stream per purpose, so that a change in one leaves the others alone.
_ANATOMY, _TISSUE, _LEVELS, _RECEIVER, _NOISE_STREAM, _MISALIGNMENT, _TEXTURE, _MOTION = range(8)


def generate_subject(
    subject: int,
    *,
    seed: int = 0,
    size: int = 128,
    slices: int = 4,
    contrasts: Names[str] = ("T2w", "T1w"),
    displacements: Mapping[str, Displacement] | None = None,
) -> dict[str, NDArray[Any]]:
    """The complex images of one simulated subject.

    subject: number >= 0. contrasts: names out of `physics.SEQUENCES`; a contrast's data do not depend on the others asked for.
    ``displacements``: where the head is in a contrast that is not aligned with the rest (`displacement_of`).
    Returns per contrast complex64 (slices, size, size), and under `BRAIN` where the brain is: bool (slices, size, size), more than
    half of a pixel inside the skull, in the frame of contrasts that are not displaced. Rows run from anterior to posterior, columns
    from the patient's right to left (radiological view), slices upwards. White matter has a T1w magnitude of about 0.24 (arbitrary
    units).
    """

    def stream(*purpose: int) -> np.random.Generator:
        return _stream(seed, subject, *purpose)

    head = Subject(stream(_ANATOMY))
    tissue_rng = stream(_TISSUE)
    tissues = {name: vary(TISSUES[name], tissue_rng) for name in TISSUE_NAMES}
    oversampling = max(2, -(-_FINEST // size))
    y, x = _axes(size * oversampling)
    levels = slice_levels(slices, stream(_LEVELS))
    offsets = (np.arange(PLANES) - (PLANES - 1) / 2) * (THICKNESS / PLANES)
    order = list(SEQUENCES)
    receivers = {c: Receiver(stream(_RECEIVER, order.index(c)), SCAN) for c in contrasts}
    textures = {c: OwnTexture(stream(_TEXTURE, order.index(c)), SEQUENCES[c], SCAN) for c in contrasts}
    images: dict[str, list[NDArray[np.complex64]]] = {c: [] for c in contrasts}
    brain: list[NDArray[np.bool_]] = []
    for level in levels:
        parts = head.tissues(level + offsets, y, x)
        brain.append(parts[_INSIDE, ::oversampling, ::oversampling].sum(axis=0) > 0.5)
        fractions = dict(zip(TISSUE_NAMES, parts, strict=True))
        for contrast in contrasts:
            factors = textures[contrast].on_plane(level, y, x)
            magnitude = np.zeros((len(y), len(x)), np.float32)
            for name, signal in signals(tissues, SEQUENCES[contrast]).items():
                magnitude += np.float32(signal) * factors.get(name, np.float32(1)) * fractions[name]
            magnitude = displaced(magnitude, (displacements or {}).get(contrast, Displacement()), FIELD_OF_VIEW)
            images[contrast].append(acquire(magnitude * receivers[contrast].on_plane(level, y, x), size))
    noisy = {
        c: _add_noise(np.stack(images[c]), [stream(_NOISE_STREAM, order.index(c), i) for i in range(slices)])
        for c in contrasts
    }
    return {**noisy, BRAIN: np.stack(brain)}


def displacement_of(
    subject: int,
    *,
    seed: int = 0,
    misalignment_mm: float = 0.0,
    misalignment_deg: float = 0.0,
    motion_mm: float = 0.0,
    motion_deg: float = 0.0,
) -> Displacement:
    """Where one subject's head is in the auxiliary: displaced on purpose (`motion.misaligned`), and moved (`motion.residual`)."""
    on_purpose = misaligned(_stream(seed, subject, _MISALIGNMENT), misalignment_mm, misalignment_deg)
    return on_purpose + residual(_stream(seed, subject, _MOTION), motion_mm, motion_deg)


def _stream(seed: int, subject: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, subject, *purpose]))


def slice_levels(slices: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Heights in mm of a subject's slices, evenly spread over the cerebrum with a jitter of the subject's own, ascending."""
    middle = (LOWEST + HIGHEST) / 2
    even = np.linspace(LOWEST, HIGHEST, slices) if slices > 1 else np.array([middle])
    return np.asarray(even + rng.uniform(-_LEVEL_JITTER, _LEVEL_JITTER))


def _axes(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Row and column coordinates in mm; the centre of the field of view is sample ``points // 2``."""
    steps = (np.arange(points, dtype=np.float64) - points // 2) * (FIELD_OF_VIEW / points)
    return _CENTRE[0] - steps, _CENTRE[1] - steps


def _add_noise(images: NDArray[np.complex64], streams: list[np.random.Generator]) -> NDArray[np.complex64]:
    """Receiver noise, one stream per slice; its level, a share of the volume's 99th percentile, is drawn from the first."""
    level = streams[0].uniform(*_NOISE) * np.percentile(np.abs(images), 99)
    return np.stack(
        [image + receiver_noise(rng, image.shape[-1], level) for image, rng in zip(images, streams, strict=True)]
    )
