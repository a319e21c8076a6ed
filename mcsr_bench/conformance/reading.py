"""Checks of a dataset plugin against what it promises."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import dataset_of
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, PROTOCOLS
from mcsr_bench.roles import ROLES, Role

from .outcome import Check, fail

_GENERATED = re.compile(r"simulat|generat|synthetic|phantom", re.IGNORECASE)


@dataclass
class Reading:
    """The checks of a dataset; each returns what it found or raises."""

    name: str
    data_root: Path | None
    settings: Mapping[str, Any]

    def refuse_bad_arguments(self) -> None:
        """UserError for a setting or data root that a dataset which can be imported does not take: that is not its failure."""
        try:
            loaded = datasets().load(self.name)
        except UserError:
            return  # the check "loads" will fail
        if isinstance(loaded, type) and issubclass(loaded, Dataset):
            self._fresh()

    def checks(self) -> dict[str, Check]:
        """All of them by name, in order."""
        return {
            "loads": self.loads,
            "card": self.card_holds,
            "cases": self.cases,
            "reads": self.reads,
            "repeats": self.repeats,
            "agrees": self.agrees,
            "split": self.split,
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def card(self) -> DatasetCard:
        """Its card. UserError when the plugin is disabled."""
        return datasets().card(self.name)

    @cached_property
    def _dataset(self) -> Dataset:
        return self._fresh()

    @cached_property
    def _cases(self) -> list[Case]:
        return list(self._dataset.cases())

    @property
    def _sample(self) -> list[Case]:
        """The first, the middle and the last case: reading all of a large dataset twice would take hours."""
        last = len(self._cases) - 1
        return [self._cases[i] for i in sorted({0, last // 2, last})]

    def _fresh(self) -> Dataset:
        return dataset_of(self.name, self.data_root, self.settings)

    def loads(self) -> str:
        """The card is sound and the class is a dataset."""
        loaded = datasets().load(self.name)
        if not (isinstance(loaded, type) and issubclass(loaded, Dataset)):
            fail(f'class = "{self.card.class_name}" is not a subclass of mcsr_bench.Dataset')
        self._fresh()
        return f"{self.card.title}: {self.card.track}, {'real' if self.card.real else 'generated'}"

    def card_holds(self) -> str:
        """Contrasts, track, and whether the data are real: as in the card."""
        target, auxiliary = self._dataset.contrasts
        for contrast in (target, auxiliary):
            if contrast not in self.card.contrasts and not self.settings:
                fail(f"contrasts: {contrast} is not among those of the card ({', '.join(self.card.contrasts)})")
        if target == auxiliary:
            fail(f"contrasts: target and auxiliary are both {target}")
        if self._dataset.track != self.card.track:
            fail(f"track: the class has {self._dataset.track}, the card has {self.card.track}")
        if self.card.real and not self._dataset.needs_root:
            fail("real = true, but no --data-root is needed: generated data are never called real")
        if not self.card.real and not _GENERATED.search(f"{self.card.title} {self.card.source}"):
            fail("real = false, but neither title nor source states that the data are generated or simulated")
        if self.card.size_setting and self.card.size_setting not in type(self._dataset).Settings.model_fields:
            fail(f'size_setting = "{self.card.size_setting}" is not a setting of the dataset')
        return f"{target} from {auxiliary}, {self.card.track}, {'real' if self.card.real else 'generated'}"

    def cases(self) -> str:
        """There are cases, with unique ids that can name files, in an order that does not change."""
        cases = self._cases
        if not cases:
            fail("cases() lists no case")
        for case in cases:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", case.volume_id) or case.volume_id in (".", ".."):
                fail(f"volume_id '{case.volume_id}': letters, digits and ._- are allowed")
            if not case.patient_id:
                fail(f"case {case.volume_id} has no patient_id")
            if case.n_slices < 1 or min(case.shape) < 1:
                fail(f"case {case.volume_id} announces {case.n_slices} slices of {case.shape[0]} x {case.shape[1]}")
        ids = [case.volume_id.lower() for case in cases]  # some file systems do not tell a from A
        again = sorted({i for i in ids if ids.count(i) > 1})
        if again:
            fail(f"volume_id {again[0]} is not unique")
        if self._fresh().cases() != cases:
            fail("a second instance lists other cases, or in another order")
        return f"{len(cases)} volumes of {len({c.patient_id for c in cases})} patients"

    def reads(self) -> str:
        """Slices are as announced: number, shape, complex64, finite; no volume is all zero; magnitude data have zero phase."""
        for case in self._sample:
            grids = self._dataset.grids(case)
            if grids and grids[0].shape != (case.n_slices, *case.shape):
                fail(
                    f"{case.volume_id}: the target's grid is {grids[0].shape}, {(case.n_slices, *case.shape)} was announced"
                )
            for i, role in enumerate(ROLES):
                shape = grids[i].shape if grids else (case.n_slices, *case.shape)
                self._contrast(case, role, shape)
        total = sum(case.n_slices for case in self._sample)
        return f"{total} slices of {len(self._sample)} volumes: {', '.join(c.volume_id for c in self._sample)}"

    def _contrast(self, case: Case, role: Role, shape: tuple[int, int, int]) -> None:
        peak, n = 0.0, 0
        for n, image in enumerate(_slices(self._dataset, case, role), 1):
            at = f"slice {n - 1} of the {role} of {case.volume_id}"
            if image.shape != shape[1:] or image.dtype != np.complex64:
                fail(f"{at} is {image.dtype} {image.shape}; complex64 {shape[1:]} was announced")
            if not np.isfinite(image).all():
                fail(f"{at} holds NaN or Inf")
            if self._dataset.track == "magnitude" and (image.imag != 0).any():
                fail(f'{at} has a phase, but track = "magnitude"')
            peak = max(peak, float(np.abs(image).max()))
        if n != shape[0]:
            fail(f"{case.volume_id}: {shape[0]} slices of the {role} were announced and {n} came")
        if peak == 0:
            fail(f"{case.volume_id}: the {role} is zero everywhere")

    def agrees(self) -> str:
        """What inspection and registration see is what is read: each contrast by itself, and k-space of coils, rows, columns."""
        case = self._sample[0]
        for role in ROLES:
            alone = self._dataset.read_contrast(case, role)
            for n, (one, other) in enumerate(zip(_slices(self._dataset, case, role), alone, strict=True)):
                if not np.array_equal(one, other):
                    fail(f"slice {n} of the {role} of {case.volume_id}: read and read_contrast differ")
            raw = self._dataset.raw_kspace(case, role, 0)
            if raw is not None and (raw.ndim != 3 or raw.dtype != np.complex64):
                fail(
                    f"raw_kspace of the {role} of {case.volume_id} is {raw.dtype} {raw.shape}; complex64 (coils, H, W) is needed"
                )
            image = self._dataset.reconstruction(case, role, 0)
            if image is not None and (image.ndim != 2 or image.dtype != np.float32):
                fail(
                    f"reconstruction of the {role} of {case.volume_id} is {image.dtype} {image.shape}; float32 (h, w) is needed"
                )
            stored = self._dataset.stored(case, role)
            if stored is not None and raw is not None and stored.shape[-2:] != raw.shape[-2:]:
                fail(
                    f"stored gives {stored.shape[-2:]} for the {role} of {case.volume_id}, raw_kspace has {raw.shape[-2:]}"
                )
        return f"{case.volume_id}, both contrasts"

    def repeats(self) -> str:
        """Read again by another instance, in the other order, the slices are the same, bit for bit."""
        one = {case.volume_id: _content(self._dataset, case) for case in self._sample}
        other = self._fresh()
        other.cases()
        for case in reversed(self._sample):
            if _content(other, case) != one[case.volume_id]:
                fail(f"{case.volume_id} reads otherwise by a second instance, in another order")
        return f"{len(self._sample)} volumes, read twice in opposite order, bit for bit"

    def split(self) -> str:
        """Every protocol gets a split that holds; under `mcsr-1` no patient is in two parts; it is the same when made again."""
        for protocol in PROTOCOLS.values():
            split = self._dataset.split(self._cases, protocol)
            split.check(self._cases)
            if protocol is MCSR_1 and not self.settings and not split.patient_disjoint:
                fail(f"by default patients are in several parts of the split under {protocol.id} ({split.rule})")
            if self._fresh().split(self._cases, protocol) != split:
                fail(f"a second instance splits otherwise under {protocol.id}")
        split = self._dataset.split(self._cases, MCSR_1)
        return f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test volumes ({split.rule})"

    def fingerprint(self) -> str:
        """The fingerprint is the same when computed again, after reading and by another instance."""
        values = {d.fingerprint() for d in (self._dataset, self._dataset, self._prepared())}
        if len(values) != 1:
            fail(f"{len(values)} fingerprints of the same data")
        value = values.pop()
        if not value:
            fail("the fingerprint is empty")
        return value

    def _prepared(self) -> Dataset:
        fresh = self._fresh()
        cases: Sequence[Case] = fresh.cases()
        fresh.split(cases, MCSR_1)
        return fresh


def _content(dataset: Dataset, case: Case) -> str:
    total = hashlib.sha256()
    for role in ROLES:
        for image in _slices(dataset, case, role):
            total.update(np.ascontiguousarray(image).tobytes())
    return total.hexdigest()


def _slices(dataset: Dataset, case: Case, role: Role) -> Iterator[NDArray[np.complex64]]:
    """The slices of a contrast as the engine gets them: by `read`, or by `read_contrast` where the grids differ."""
    grids = dataset.grids(case)
    if grids and grids[0].difference(grids[1]):
        yield from dataset.read_contrast(case, role)
        return
    for pair in dataset.read(case):
        target, auxiliary = pair
        yield target if role == "target" else auxiliary
