"""Batches of slices from a prepared store, for training, validation and test.

Which slices, patches and reflections make the training batch of a step is a function of (seed, step) alone, so that a run that
was killed goes on with exactly the batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mcsr_bench.data.gathering import Field, FromFiles, OnDevice, Slice, Source, bytes_needed
from mcsr_bench.data.slice_statistics import chosen_statistics
from mcsr_bench.data.store import Store, StoredVolume, Volume
from mcsr_bench.data.window import Window
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
        self._drawn: tuple[tuple[int, int], list[list[Slice]]] | None = None
        self._source: Source = FromFiles()

    @property
    def n_train_bytes(self) -> int:
        """What `keep_on` takes on the device."""
        return bytes_needed(self._train)

    def keep_on(self, device: torch.device | str) -> None:
        """Hold all training slices there from now on; batches are equal to the bit, and their images are there already."""
        self._source = OnDevice(self._train, device)

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
        windows = [self._window(volume.shape, patch, augment, rng) for volume, _ in chosen]
        s = self.scale
        of_auxiliary = self._protocol.auxiliary_source(joint=self._joint)

        def gathered(field: Field, factor: int) -> torch.Tensor:
            return self._source.gathered(field, chosen, windows, factor)

        known = [(volume.statistics, i) for volume, i in chosen]
        return Batch(
            target_lr=gathered("target_lr", 1),
            auxiliary=gathered("auxiliary", s),
            auxiliary_lr=gathered("auxiliary_lr", 1),
            scale=s,
            protocol=self._protocol,
            target_statistics=chosen_statistics("target_lr", known),
            auxiliary_statistics=chosen_statistics(of_auxiliary, known),
            target=gathered("target", s),
            patient_id=tuple(volume.patient_id for volume, _ in chosen),
            slice_index=tuple(volume.slice_index[i] for volume, i in chosen),
            volume_id=tuple(volume.volume_id for volume, _ in chosen),
            joint=self._joint,
        )

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

    def _epoch(self, epoch: int, batch_size: int) -> list[list[Slice]]:
        """The batches of an epoch; the one drawn last is kept, for every step of it asks."""
        if self._drawn is None or self._drawn[0] != (epoch, batch_size):
            self._drawn = (epoch, batch_size), self._draw_epoch(epoch, batch_size)
        return self._drawn[1]

    def _draw_epoch(self, epoch: int, batch_size: int) -> list[list[Slice]]:
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, epoch, _ORDER]))
        batches = []
        for group in self._groups:
            order = rng.permutation(len(group))
            batches += [[group[k] for k in order[i : i + batch_size]] for i in range(0, len(group), batch_size)]
        return [batches[k] for k in rng.permutation(len(batches))]

    def _window(self, shape: tuple[int, int], patch: int, augment: str, rng: np.random.Generator) -> Window:
        """Which part of a slice of this HR shape is taken, and how it is turned."""
        rows, columns, swap = (bool(x) for x in rng.integers(0, 2, size=3))
        h, w = (n // self.scale for n in shape)
        swap = augment == "dihedral" and swap and (bool(patch) or h == w)
        h, w = (w, h) if swap else (h, w)
        mirrored = (rows, columns) if augment != "none" else (False, False)
        if not patch:
            return Window(0, 0, h, w, *mirrored, swap)
        size = min(patch, h, w)
        top, left = int(rng.integers(0, h - size + 1)), int(rng.integers(0, w - size + 1))
        return Window(top, left, size, size, *mirrored, swap)
