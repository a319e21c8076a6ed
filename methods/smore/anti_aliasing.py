"""What SMORE's first network learns: LR images as a smooth low-pass would have left them, and the training patches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mcsr_bench import kspace
from mcsr_bench.plugin.batch import LR_IMAGE, Batch
from mcsr_bench.plugin.method import TrainingData

_PLACE = 4  # stream of randomness


@dataclass(frozen=True)
class CleanBatch(Batch):
    """A batch that also holds the anti-aliasing target, cropped, mirrored and moved with the images."""

    clean: Tensor = field(kw_only=True, metadata=LR_IMAGE)
    """(B, h, w), complex64, in physical units: what `anti_aliased` gave for the whole slices."""

    @classmethod
    def from_slices(cls, batch: Batch, taper: float) -> CleanBatch:
        """Of a batch of whole slices."""
        return cls(**vars(batch), clean=anti_aliased(batch.target_lr, taper))


class CleanData:
    """Training data (a `TrainingData`) whose batches are `CleanBatch`.

    The filter is periodic: at the border of a patch it would mix in the far side, by as much as it changes the image. So whole
    slices are asked for, filtered, and then cut. Of slices that are not square, patches are mirrored, never transposed.
    """

    def __init__(self, data: TrainingData, taper: float, seed: int) -> None:
        self.scale = data.scale
        self.n_train_slices, self.n_train_pixels = data.n_train_slices, data.n_train_pixels
        self._data, self._taper, self._seed = data, taper, seed

    def steps_per_epoch(self, batch_size: int) -> int:
        """As of the data given."""
        return self._data.steps_per_epoch(batch_size)

    def batch(self, step: int, *, batch_size: int, patch: int, augment: str) -> CleanBatch:
        """The batch of a step, a function of (seed, step) and the arguments; the patch of each slice at a place of its own."""
        slices = self._data.batch(step, batch_size=batch_size, patch=0, augment=augment)
        whole = CleanBatch.from_slices(slices, self._taper)
        if not patch:
            return whole
        h, w = whole.target_lr.shape[-2:]
        size = min(patch, h, w)
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, step, _PLACE]))
        top, left = (torch.from_numpy(rng.integers(0, n - size + 1, len(whole))) for n in (h, w))
        return whole.crop(top, left, size)

    def validation(self, batch_size: int = 1) -> Iterator[Batch]:
        """As of the data given."""
        return self._data.validation(batch_size)


def anti_aliased(target_lr: Tensor, taper: float) -> Tensor:
    """The LR image as a smooth low-pass, rather than a truncation, would have left it: less ringing. Complex (B, h, w).

    Truncation and a smooth window within the LR band, in either order, give the same, so the HR image is not needed. The images
    must be whole slices.
    """
    windows = [tukey(n, taper).to(target_lr.device) for n in target_lr.shape[-2:]]
    return kspace.to_image(kspace.to_kspace(target_lr) * windows[0][:, None] * windows[1][None, :])


def tukey(n: int, taper: float) -> Tensor:
    """1 in the middle of n k-space samples, cosine-shaped down to 0 at n / 2 from it; (n,), float32."""
    distance = (torch.arange(n, dtype=torch.float64) - n // 2).abs() / (n / 2)
    edge = ((distance - (1 - taper)) / taper).clamp(0, 1)
    return (0.5 * (1 + torch.cos(torch.pi * edge))).float()
