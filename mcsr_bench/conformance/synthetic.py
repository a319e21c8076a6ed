"""Smooth random complex images from a seed, so that methods are checked without any data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import MCSR_1

VALIDATION_SEED = 1000


def smooth_images(n: int, shape: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Target and auxiliary, complex64 (n, H, W) each: blobs in both contrasts, each with weights of its own, times a smooth phase.

    Slice i of ``seed`` is the same whatever n is.
    """
    pairs = [_pair(shape, np.random.default_rng(np.random.SeedSequence([seed, i]))) for i in range(n)]
    target, auxiliary = (torch.from_numpy(np.stack(part).astype(np.complex64)) for part in zip(*pairs, strict=True))
    return target, auxiliary


def _pair(shape: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    y, x = (np.linspace(-1, 1, n, endpoint=False) for n in shape)
    target, auxiliary = np.zeros((2, *shape))
    for _ in range(12):
        centre, width = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.08, 0.4, 2)
        blob = np.exp(-((((y - centre[0]) / width[0]) ** 2)[:, None] + (((x - centre[1]) / width[1]) ** 2)[None]))
        target += rng.uniform(0.1, 1) * blob
        auxiliary += rng.uniform(0.1, 1) * blob
    slope = rng.uniform(-1, 1, (2, 3))
    phases = [np.exp(1j * (a + b * y[:, None] + c * x[None])) for a, b, c in slope]
    return target * phases[0], auxiliary * phases[1]


def make_batch(target: Tensor, auxiliary: Tensor, scale: int, *, training: bool = False) -> Batch:
    """A batch of whole slices from HR images, degraded as `mcsr-1` does; with target only for training."""
    lr, auxiliary_lr = MCSR_1.degrade(target, scale), MCSR_1.degrade(auxiliary, scale)
    n = len(target)
    return Batch.of(
        lr,
        auxiliary,
        auxiliary_lr,
        scale=scale,
        protocol=MCSR_1,
        target=target if training else None,
        patient_id=tuple(f"p{i}" for i in range(n)),
        slice_index=tuple(range(n)),
        volume_id=("v",) * n,
    )


def smooth_batch(n: int, lr_shape: tuple[int, int], scale: int, seed: int = 0, *, training: bool = False) -> Batch:
    """A batch of n smooth random slices whose LR images are of ``lr_shape``."""
    target, auxiliary = smooth_images(n, (lr_shape[0] * scale, lr_shape[1] * scale), seed)
    return make_batch(target, auxiliary, scale, training=training)


class SyntheticData:
    """Four training slices and two validation slices in memory (a `mcsr_bench.plugin.method.TrainingData`).

    The batches repeat after an epoch, so that a falling loss is learning and not the luck of an easy batch.
    """

    def __init__(self, scale: int, lr_side: int, seed: int = 0) -> None:
        self.scale = scale
        self.n_train_slices = 4
        self.n_train_pixels = self.n_train_slices * (lr_side * scale) ** 2
        self._train = smooth_batch(self.n_train_slices, (lr_side, lr_side), scale, seed, training=True)
        self._validation = smooth_batch(2, (lr_side, lr_side), scale, seed + VALIDATION_SEED, training=True)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches until every slice was seen once."""
        return -(-self.n_train_slices // batch_size)

    def batch(self, step: int, *, batch_size: int, patch: int, augment: str) -> Batch:
        """The batch of a step: consecutive slices, patches from their middle; never augmented."""
        position = step % self.steps_per_epoch(batch_size)
        chosen = self._train[[(position * batch_size + i) % self.n_train_slices for i in range(batch_size)]]
        h, w = chosen.target_lr.shape[-2:]
        size = min(patch or h, h, w)
        corner = torch.full((len(chosen),), (h - size) // 2)
        return chosen.crop(corner, corner, size) if patch else chosen

    def validation(self, batch_size: int = 1) -> Iterator[Batch]:
        """The validation slices, one volume."""
        for start in range(0, 2, batch_size):
            yield self._validation[start : start + batch_size]
