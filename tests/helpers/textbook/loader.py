"""Training data as the published loaders have them: every slice of a batch is read from raw k-space and degraded again.

Source: section IV.A of the SANet paper (arXiv 2109.01664), the fastMRI layout (Zbontar et al., arXiv 1811.08839, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import torch
from torch import Tensor

from .training import centre, fft2c, ifft2c


class RawLoader:
    """Slices of pairs of HDF5 files with single-coil k-space, (slices, H, W) each."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], slices: int, scale: int, size: int = 320) -> None:
        """pairs: files of target and auxiliary, ``slices`` in each. size: HR pixels per side."""
        self.items = [(*pair, i) for pair in pairs for i in range(slices)]
        self.scale, self.size = scale, size

    def contrast(self, path: Path, index: int) -> tuple[Tensor, Tensor]:
        """LR and HR magnitude of a slice, normalised by the statistics of the LR one: (1, h, w) and (1, H, W)."""
        with h5py.File(path, "r") as file:
            samples = torch.from_numpy(file["kspace"][index])
        image = centre(ifft2c(samples), self.size, self.size)
        low_size = self.size // self.scale
        low = torch.abs(ifft2c(centre(fft2c(image), low_size, low_size))) / self.scale
        high = torch.abs(image)
        mean, std = low.mean(), low.std()
        return ((low - mean) / std)[None], ((high - mean) / std)[None]

    def slice(self, item: int, patch: int = 0) -> tuple[Tensor, ...]:
        """Target LR, target, auxiliary LR, auxiliary; patch: LR pixels per side, at a random place; 0: whole."""
        target, auxiliary, index = self.items[item]
        images = (*self.contrast(target, index), *self.contrast(auxiliary, index))
        if not patch:
            return images
        low = self.size // self.scale
        top, left = (int(torch.randint(0, low - patch + 1, ())) for _ in range(2))
        found = []
        for image in images:
            factor = image.shape[-1] // low
            y, x, n = top * factor, left * factor, patch * factor
            found.append(image[:, y : y + n, x : x + n])
        return tuple(found)

    def batch(self, items: Sequence[int], patch: int = 0) -> list[Tensor]:
        """The slices of a batch, (B, 1, h, w) each."""
        return [torch.stack(images) for images in zip(*(self.slice(i, patch) for i in items), strict=True)]
