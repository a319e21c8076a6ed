"""Batches of slices from a prepared store, for training, validation and test.

Which slices, patches and reflections make the training batch of a step is a function of (seed, step) alone, so that a run that
was killed goes on with exactly the batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mcsr_bench.data.store import Store, StoredVolume, Volume
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import Protocol

REVISION = 1
"""Of how batches are drawn: order, patches, reflections; in the key of a trial. Raise it when equal seeds give other batches."""

_ORDER, _PATCH = 1, 2  # streams of randomness


class Sampler:
    """The training, validation and test slices of a store (a `mcsr_bench.plugin.method.TrainingData`)."""

    def __init__(self, store: Store, split: Split, protocol: Protocol, seed: int, *, joint: bool = False) -> None:
        self.scale = store.scale
        self._protocol = protocol
        self._seed = seed
        self._joint = joint
        self._train = [store.volumes[v] for v in split.train]
        self._validation = [store.volumes[v] for v in split.validation]
        self._test = [store.volumes[v] for v in split.test]
        # A batch of whole slices needs slices of one size: they are drawn size by size.
        sizes = sorted({v.shape for v in self._train})
        self._groups = [
            [(v, i) for v in self._train if v.shape == size for i in range(len(v.slice_index))] for size in sizes
        ]
        self.n_train_slices = sum(map(len, self._groups))
        self.n_train_pixels = sum(len(group) * h * w for group, (h, w) in zip(self._groups, sizes, strict=True))
        self._drawn: tuple[tuple[int, int], list[list[tuple[StoredVolume, int]]]] | None = None

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches until every training slice was seen once; the last one of a size may be smaller."""
        return sum(-(-len(group) // batch_size) for group in self._groups)

    def batch(self, step: int, *, batch_size: int, patch: int, augment: str) -> Batch:
        """The training batch of a step (from 0).

        patch: LR pixels per side, at most those of the slice; 0: whole slices. augment: "none", "mirror" (about the centre sample,
        both axes) or "dihedral" (also transposed, where slices are square or patches are cut).
        """
        epoch, position = divmod(step, self.steps_per_epoch(batch_size))
        chosen = self._epoch(epoch, batch_size)[position]
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, step, _PATCH]))
        parts = []
        for volume, i in chosen:
            one = self._slices(volume, range(i, i + 1), with_target=True)
            parts.append(self._cut(_augmented(one, augment, bool(patch), rng), patch, rng))
        return Batch.stack(parts)

    def validation(self, batch_size: int = 1) -> Iterator[Batch]:
        """The validation slices, whole and with target, volume by volume in fixed order."""
        for volume in self._validation:
            yield from self._volume(volume, batch_size, with_target=True)

    def test_volumes(self) -> list[StoredVolume]:
        """The test volumes in fixed order."""
        return self._test

    def predicting(self, volume: StoredVolume, batch_size: int = 1) -> Iterator[Batch]:
        """The slices of a volume as `Method.predict` gets them: whole, in order, without target."""
        for batch in self._volume(volume, batch_size, with_target=False):
            yield batch.without_target()

    def _volume(self, volume: StoredVolume, batch_size: int, *, with_target: bool) -> Iterator[Batch]:
        n = len(volume.slice_index)
        for start in range(0, n, batch_size):
            yield self._slices(volume, range(start, min(n, start + batch_size)), with_target=with_target)

    def _slices(self, volume: StoredVolume, which: range, *, with_target: bool) -> Batch:
        part = slice(which.start, which.stop)

        def load(array: Volume) -> torch.Tensor:
            return torch.from_numpy(np.array(array[part]))

        return Batch.of(
            target_lr=load(volume.target_lr),
            auxiliary=load(volume.auxiliary),
            auxiliary_lr=load(volume.auxiliary_lr),
            target=load(volume.target) if with_target else None,
            scale=self.scale,
            protocol=self._protocol,
            patient_id=(volume.patient_id,) * len(which),
            slice_index=tuple(volume.slice_index[i] for i in which),
            volume_id=(volume.volume_id,) * len(which),
            joint=self._joint,
        )

    def _epoch(self, epoch: int, batch_size: int) -> list[list[tuple[StoredVolume, int]]]:
        """The batches of an epoch; the one drawn last is kept, for every step of it asks."""
        if self._drawn is None or self._drawn[0] != (epoch, batch_size):
            self._drawn = (epoch, batch_size), self._draw_epoch(epoch, batch_size)
        return self._drawn[1]

    def _draw_epoch(self, epoch: int, batch_size: int) -> list[list[tuple[StoredVolume, int]]]:
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, epoch, _ORDER]))
        batches = []
        for group in self._groups:
            order = rng.permutation(len(group))
            batches += [[group[k] for k in order[i : i + batch_size]] for i in range(0, len(group), batch_size)]
        return [batches[k] for k in rng.permutation(len(batches))]

    def _cut(self, batch: Batch, patch: int, rng: np.random.Generator) -> Batch:
        if not patch:
            return batch
        h, w = batch.target_lr.shape[-2:]
        size = min(patch, h, w)
        top, left = rng.integers(0, h - size + 1), rng.integers(0, w - size + 1)
        return batch.crop(torch.tensor([top]), torch.tensor([left]), size)


def _augmented(batch: Batch, augment: str, patches: bool, rng: np.random.Generator) -> Batch:
    rows, columns, swap = (bool(x) for x in rng.integers(0, 2, size=3))
    if augment == "none":
        return batch
    H, W = batch.hr_shape
    return batch.transform(
        mirror_rows=rows, mirror_columns=columns, transpose=augment == "dihedral" and swap and (patches or H == W)
    )
