"""One case, seen slice by slice: what `facts` returns is all that is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.plugin.case import Case, Stored
from mcsr_bench.roles import ROLES, Role

from .brightest import Brightest
from .duplicates import signature, thinned
from .pairs import correlation, overlap, shift_between, thumbnail
from .phase import Phase, typical_phase
from .reconstruction import difference
from .spectrum import Spectrum

_FAINT = 1e-3
"""A slice below this share of the strongest slice's energy is as good as empty."""
_SIGNATURES = 48
"""Signatures of slices kept per contrast, or some more; 48 are 8 KB."""


@dataclass
class _Contrast:
    """What is collected of one contrast while its slices pass."""

    images: Spectrum = field(default_factory=Spectrum)
    raw: Spectrum = field(default_factory=Spectrum)
    slices: int = 0
    coils: int = 0
    not_finite: list[int] = field(default_factory=list)
    lowest: float = np.inf
    highest: float = 0.0
    brightest: Brightest = field(default_factory=lambda: Brightest(1))
    energies: list[float] = field(default_factory=list)
    signatures: list[tuple[int, str, float]] = field(default_factory=list)
    differences: list[tuple[float, float]] = field(default_factory=list)
    """Of k-space from the file's own images, see `difference`."""
    kept: dict[int, tuple[int, NDArray[np.complex64], float]] = field(default_factory=dict)
    """The slice nearest to each wanted position: its index, its image, its energy."""


class Inspector:
    """Looks at one case while its slices pass by once; keeps sums over slices, and three slices of each contrast.

    voxel: edge lengths in mm across slices, down the rows, along the columns; stored: what the headers give for both contrasts.
    """

    def __init__(
        self,
        case: Case,
        contrasts: tuple[str, str],
        track: Literal["complex", "magnitude"],
        voxel: tuple[float, float, float] | None = None,
        stored: tuple[Stored | None, Stored | None] = (None, None),
    ) -> None:
        self._case, self._names, self._track, self._voxel = case, contrasts, track, voxel
        self._stored = dict(zip(ROLES, stored, strict=True))
        self._seen: dict[str, _Contrast] = {role: _Contrast(brightest=Brightest(case.n_slices)) for role in ROLES}
        n = case.n_slices
        self._wanted = sorted({n // 4, n // 2, (3 * n) // 4})

    def add(self, role: Role, index: int, image: NDArray[np.complex64]) -> None:
        """One slice of the HR image, complex64 (H, W), before any crop; each slice once, in any order."""
        c = self._seen[role]
        c.slices += 1
        size = np.abs(image)
        highest = float(size.max())
        if not np.isfinite(highest):
            c.not_finite.append(index)
            return
        c.lowest, c.highest = min(c.lowest, float(size.min())), max(c.highest, highest)
        c.brightest.add(size)
        if highest == 0:
            return
        # Scaled to 1 first: values of 1e-20 or 1e20 must not vanish or overflow when squared in float32.
        energy = float(np.mean((size / np.float32(highest)) ** 2, dtype=np.float64)) * highest**2
        c.energies.append(energy)
        c.images.add_image(image)
        text = signature(size)
        if text is not None:
            c.signatures.append((index, text, energy))
        for wanted in self._wanted:
            held = c.kept.get(wanted)
            better = held is None or abs(index - wanted) < abs(held[0] - wanted)
            if held is not None and min(energy, held[2]) < _FAINT * max(energy, held[2]):
                better = energy > held[2]
            if better:
                c.kept[wanted] = (index, image.copy(), energy)

    def add_raw(
        self, role: Role, index: int, kspace: NDArray[np.complex64], image: NDArray[np.float32] | None = None
    ) -> None:
        """The k-space of one slice as in the file, complex64 (coils, H, W), and the magnitude image beside it, if any."""
        c = self._seen[role]
        c.coils = max(c.coils, kspace.shape[0])
        highest = float(np.abs(kspace).max())
        if np.isfinite(highest) and highest > 0:
            c.raw.add_kspace(kspace)
            found = None if image is None else difference(kspace, image)
            c.differences += [found] if found else []

    def facts(self) -> dict[str, Any]:
        """What was seen, as JSON: a few kilobytes, most of them signatures of slices and a thumbnail of each contrast."""
        case = self._case
        return {
            "volume_id": case.volume_id,
            "patient_id": case.patient_id,
            "files": list(case.files),
            "track": self._track,
            "voxel": list(self._voxel) if self._voxel else None,
            "slices": case.n_slices,
            "shape": list(case.shape),
            "contrasts": {role: self._contrast(role, name) for role, name in zip(ROLES, self._names, strict=True)},
            "pair": self._pair(),
        }

    def _contrast(self, role: Role, name: str) -> dict[str, Any]:
        c, stored = self._seen[role], self._stored[role]
        brightest = max(c.energies, default=0.0)
        phase = self._phase(c)
        fake = phase is not None and not phase.own
        # K-space made from magnitudes is full at any resolution: an edge is a small step there, and seen best in windowed images.
        spectrum, source = (c.raw, "raw") if c.raw.seen and not fake else (c.images, "image")
        strong = [(index, text) for index, text, energy in c.signatures if energy >= _FAINT * brightest]
        edges = centre = None
        if spectrum.seen:
            flat = source == "image" and (fake or self._track == "magnitude")
            edges = [asdict(e) for e in spectrum.edges(magnitude=flat, windowed=source == "image")]
            centre = list((c.raw if c.raw.seen else c.images).centre())  # of the file's k-space, whatever is made of it
        return {
            "name": name,
            "file": _file(self._case, role),
            "stored": asdict(stored) if stored else None,
            "shape": list(spectrum.shape) if spectrum.seen else list(self._case.shape),
            "coils": c.coils or (stored.coils if stored else 1),
            "slices": c.slices,
            "not_finite": sorted(c.not_finite)[:20],
            "zero": c.slices > len(c.not_finite) and c.highest == 0,
            "range": [c.lowest if np.isfinite(c.lowest) else 0.0, c.highest],
            "brightest": c.brightest.percentile,
            "spectrum": source if spectrum.seen else None,
            "edges": edges,
            "centre": centre,
            "phase": {"rms": phase.rms, "slope": list(phase.slope)} if phase else None,
            "reconstruction": list(max(c.differences)) if c.differences else None,
            "fake_complex": fake,
            "signatures": [list(strong[i]) for i in thinned([text for _, text in strong], _SIGNATURES)],
        }

    def _phase(self, c: _Contrast) -> Phase | None:
        return None if self._track == "magnitude" else typical_phase(image for _, image, _ in _distinct(c))

    def _pair(self) -> dict[str, Any]:
        kept = [{index: image for index, image, _ in _distinct(self._seen[role])} for role in ROLES]
        common = sorted(kept[0].keys() & kept[1].keys())
        out: dict[str, Any] = {
            "slices": common,
            "correlation": None,
            "overlap": None,
            "shift": None,
            "thumbnails": None,
        }
        images = [tuple(_unit(k[i]) for k in kept) for i in common]
        images = [(a, b) for a, b in images if a.shape == b.shape]
        if not images:
            return out
        out["correlation"] = float(np.median([correlation(a, b) for a, b in images]))
        out["overlap"] = float(np.median([overlap(a, b) for a, b in images]))
        shifts = [s for s in (shift_between(a, b) for a, b in images) if s]
        if shifts:
            out["shift"] = [float(np.median([s[axis] for s in shifts])) for axis in (0, 1)]
        a, b = images[len(images) // 2]
        if out["shift"]:
            b = np.roll(b, [-round(v) for v in out["shift"]], (0, 1))
        out["thumbnails"] = [thumbnail(a), thumbnail(b)]
        return out


def _file(case: Case, role: str) -> str:
    """The raw file behind a contrast: adapters list the target's first; a file of both, or none at all, is spoken of as such."""
    if len(case.files) == 2:
        return case.files[role == "auxiliary"]
    return case.files[0] if case.files else case.volume_id


def _distinct(c: _Contrast) -> list[tuple[int, NDArray[np.complex64], float]]:
    return list({index: (index, image, energy) for index, image, energy in c.kept.values()}.values())


def _unit(image: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Magnitudes in float64, the largest 1."""
    size = np.abs(image).astype(np.float64)
    return np.asarray(size / max(float(size.max()), 1e-300))
