"""Floor 1: what a dataset plugin is.

A dataset plugin subclasses `Dataset` in ``datasets/NAME/__init__.py`` beside a ``card.toml``. It knows files and formats and
nothing else: it lists its cases, hands out complex slices of target and auxiliary, and says which patients go where. Cropping,
degrading, dropping empty slices and storing are the engine's work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mcsr_bench.errors import UserError, one_line
from mcsr_bench.files import digest
from mcsr_bench.progress import Listener
from mcsr_bench.protocol import Protocol
from mcsr_bench.raw.digests import digests

Slice = tuple[NDArray[np.complex64], NDArray[np.complex64]]
"""Target and auxiliary of one slice, complex64 (H, W) each, same grid, physical units; magnitude data have zero phase."""


SHOWN_PROBLEMS = 10
TOLD_FROM = 1 << 28
"""Bytes to hash, a fraction of a second, from which progress is told."""
"""How many problems of a dataset one sentence lists."""


@dataclass(frozen=True)
class Finding:
    """Something about the data that a reader of a result should know."""

    severity: Literal["info", "warning", "error"]
    code: str
    """A short stable word, e.g. ``patient-mismatch``, ``empty-slices``, ``slice-count``."""
    file: str
    message: str
    marks: bool = False
    """True: every table of results on these data repeats the message."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))


@dataclass(frozen=True)
class Case:
    """One patient's pair of volumes (a patient may have several: they share ``patient_id``)."""

    patient_id: str
    volume_id: str
    """Unique in the dataset; letters, digits, and ``._-`` only."""
    n_slices: int
    shape: tuple[int, int]
    """(H, W) of every slice that `Dataset.read` will give, target and auxiliary alike."""
    files: tuple[str, ...] = ()
    """The raw files behind it, for messages."""


@dataclass(frozen=True)
class Grid:
    """Where the samples of a volume lie in the patient."""

    shape: tuple[int, int, int]
    """(slices, H, W)."""
    affine: tuple[tuple[float, ...], ...]
    """4 x 4, from (slice, row, column) indices to RAS+ millimetres."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array (4, 4)."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in millimetres: across slices, down the rows, along the columns."""
        a, b, c = (float(v) for v in np.linalg.norm(self.matrix[:3, :3], axis=0))
        return a, b, c

    def difference(self, other: Grid) -> str:
        """How two grids differ, as a clause; "" when they are the same.

        Same: equal matrix, and no corner of it more than a tenth of the smallest voxel edge apart.
        """
        if self.shape != other.shape:
            return " and ".join(
                f"{'matrix ' if g is self else ''}{' x '.join(map(str, g.shape))}" for g in (self, other)
            )
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.array(self.shape) - 1
        apart = float(np.linalg.norm(corners @ (self.matrix - other.matrix).T, axis=1).max())
        return f"positions up to {apart:.2g} mm apart" if apart > 0.1 * min(self.voxel) else ""


@dataclass(frozen=True)
class Stored:
    """How one contrast of a case lies in its file, as headers say it."""

    shape: tuple[int, ...]
    """Of the array in the file: (slices, [coils,] H, W) of k-space, (slices, H, W) of images, before any crop."""
    dtype: str
    """As numpy names it."""
    coils: int = 1
    acquired: tuple[int, int] | None = None
    """How many rows and columns of k-space the header says were acquired; None: it does not say."""


class BadDataError(UserError):
    """All that is wrong with the files of a dataset, in one sentence; ``cases`` are those that could be used without the rest."""

    def __init__(
        self, dataset: str, problems: Sequence[str], cases: Sequence[Case] = (), where: Path | None = None
    ) -> None:
        more = f"; and {len(problems) - SHOWN_PROBLEMS} more problems" if len(problems) > SHOWN_PROBLEMS else ""
        place = f" (data root {where})" if where else ""
        super().__init__(f"{dataset}: {'; '.join(problems[:SHOWN_PROBLEMS])}{more}{place}")
        self.problems = tuple(problems)
        self.cases = tuple(cases)


@dataclass(frozen=True)
class Split:
    """Which volumes train, validate and test, by ``volume_id``."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    rule: str
    """In a sentence, how it was made."""
    patient_disjoint: bool = True
    """False only where the user or the protocol asked for it: the results are marked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", one_line(self.rule))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over all of it."""
        return digest(asdict(self), 12)

    def check(self, cases: Sequence[Case]) -> None:
        """Prove it against the cases: known volumes, no empty part, no volume or patient in two parts.

        Raises UserError with the first thing that is wrong. With ``patient_disjoint`` False patients may be shared, and
        validation may be the test part (`sanet-2021`); the parts must still be there, and no train volume in another part.
        """
        patient = {c.volume_id: c.patient_id for c in cases}
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, part in parts.items():
            if not part:
                raise UserError(f"the split has no {name} volumes ({self.rule}); more patients are needed")
            unknown = sorted(set(part) - patient.keys())
            if unknown:
                raise UserError(f"the split's {name} part names volumes that are not there: {', '.join(unknown[:5])}")
            if len(set(part)) != len(part):
                raise UserError(f"the split's {name} part names a volume twice")
        again = sorted(set(self.train) & {*self.validation, *self.test})
        if again:
            raise UserError(f"volume {again[0]} is in the train part of the split and in another one")
        if not self.patient_disjoint:
            return
        for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = sorted({patient[v] for v in parts[a]} & {patient[v] for v in parts[b]})
            if shared:
                raise UserError(f"patient {shared[0]} is in both the {a} and the {b} part of the split")


class DatasetSettings(BaseModel):
    """Base of a dataset's settings (``--set NAME.KEY=VALUE``): every field has a default, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choosing: ClassVar[frozenset[str]] = frozenset()
    """Settings that choose or split the cases and change nothing of what is read of one: prepared data do not depend on them."""


class PatientSplitSettings(DatasetSettings):
    """Settings of a dataset that `split_patients` splits."""

    choosing: ClassVar[frozenset[str]] = frozenset({"validation_fraction", "test_fraction", "split_seed"})

    validation_fraction: float = Field(default=0.1, gt=0, le=0.4)
    """Share of the patients that choose the checkpoint."""
    test_fraction: float = Field(default=0.2, gt=0, le=0.4)
    """Share of the patients that are tested on."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split by patient."""


@dataclass
class Dataset(ABC):
    """A source of same-patient, two-contrast MR data.

    The engine calls, in this order: `cases` (validates everything that can be seen without reading all pixels, and reports all
    that is wrong in one UserError), `split`, `fingerprint`, then `read` once per case, possibly in several processes at
    once (so an instance must be picklable), while the store is built. `findings` is filled along the way.
    """

    name: str
    settings: Any
    """An instance of the class's `Settings`."""
    data_root: Path | None = None
    findings: list[Finding] = field(default_factory=list)
    listener: Listener = field(default_factory=Listener, repr=False, compare=False)
    """Whom to tell of what takes long; the engine sets it."""

    Settings: ClassVar[type[DatasetSettings]] = DatasetSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    """``magnitude`` where the phase is not the object's own; tables never mix tracks."""
    needs_root: ClassVar[bool] = True
    """Whether ``--data-root`` must be given."""
    revision: ClassVar[int] = 1
    """Raise it when `read` gives other values for the same files: it enters the key of the prepared store."""

    @property
    @abstractmethod
    def contrasts(self) -> tuple[str, str]:
        """Names of target and auxiliary contrast, e.g. ("T2w", "T1w")."""

    @abstractmethod
    def cases(self) -> list[Case]:
        """All cases, in a fixed order that does not depend on the file system.

        Raises UserError on bad input, `BadDataError` where some cases could be used: ``prepare --check`` looks at those.
        """

    @abstractmethod
    def read(self, case: Case) -> Iterator[Slice]:
        """The slices of one case in anatomical order, one at a time (bounded memory).

        Yields exactly ``case.n_slices`` pairs of complex64 (H, W) arrays of ``case.shape``. Raises UserError naming the file when
        the data cannot be read or decoded; NaN, Inf and all-zero volumes are looked for by the engine.
        """

    @abstractmethod
    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """Who trains, validates, tests. Deterministic; by patient unless the user or the protocol said otherwise."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data: of generated data recipe, seed and sizes; of real data the bytes of the files listed."""

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        """Where target and auxiliary lie, read from headers; None where the files do not say: then they share a grid.

        Where the two differ, the engine registers the case (``--register``) with `read_contrast`, and never calls `read`.
        """
        return None

    def read_contrast(self, case: Case, kind: Literal["target", "auxiliary"]) -> Iterator[NDArray[np.complex64]]:
        """The slices of one contrast on its own grid, complex64 (H, W), in anatomical order, one at a time."""
        for target, auxiliary in self.read(case):
            yield target if kind == "target" else auxiliary

    def raw_kspace(self, case: Case, kind: Literal["target", "auxiliary"], index: int) -> NDArray[np.complex64] | None:
        """K-space of one slice as it lies in the file, complex64 (coils, H, W), for inspection; None where files hold images."""
        return None

    def reconstruction(
        self, case: Case, kind: Literal["target", "auxiliary"], index: int
    ) -> NDArray[np.float32] | None:
        """The magnitude image (h, w) that the file holds beside `raw_kspace`, for inspection; None where it holds none."""
        return None

    def stored(self, case: Case, kind: Literal["target", "auxiliary"]) -> Stored | None:
        """How a contrast lies in its file, for the inspection report; None for data that are not read from files."""
        return None

    @property
    def root(self) -> Path:
        """``data_root`` of a dataset that has files. UserError where it is missing or no folder."""
        if self.data_root is None:
            raise UserError(f"--data-root is missing: dataset '{self.name}' needs the folder that holds its files")
        if not self.data_root.is_dir():
            raise UserError(f"--data-root {self.data_root}: no such folder")
        return self.data_root

    def note(self, finding: Finding) -> None:
        """Keep a finding, once."""
        if finding not in self.findings:
            self.findings.append(finding)

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The SHA-256 of every file's bytes, for `fingerprint`: read once, then remembered (`mcsr_bench.raw.digests`).

        Raises UserError when a file cannot be read.
        """

        def told(done: int, total: int) -> None:
            if total >= TOLD_FROM:
                self.listener.preparing(f"reading the files of {self.name} (MB)", done // 10**6, total // 10**6)

        return digests(paths, told)

    def prepare_message(self) -> str:
        """What the progress bar says while the store is built."""
        return f"preparing {self.name}"


def split_by_patient(cases: Sequence[Case], fractions: tuple[float, float, float], seed: int, rule: str) -> Split:
    """A split of patients in shuffled order into train, validation and test by ``fractions``; every part gets at least one.

    The order is a seeded permutation of the sorted patient ids, so it does not depend on the order of the cases. Raises
    UserError with fewer than three patients.
    """
    patients = sorted({c.patient_id for c in cases})
    if len(patients) < 3:
        raise UserError(f"a split by patient needs at least 3 patients, there are {len(patients)}")
    order = [
        patients[i] for i in np.random.default_rng(np.random.SeedSequence([seed, 7130])).permutation(len(patients))
    ]
    # Few patients: both shares may round up, and would leave none to train on.
    n_test = min(max(1, round(fractions[2] * len(order))), len(order) - 2)
    n_validation = min(max(1, round(fractions[1] * len(order))), len(order) - n_test - 1)
    parts = (set(order[n_test + n_validation :]), set(order[n_test : n_test + n_validation]), set(order[:n_test]))
    train, validation, test = (tuple(c.volume_id for c in cases if c.patient_id in part) for part in parts)
    return Split(train=train, validation=validation, test=test, rule=rule)


def split_patients(cases: Sequence[Case], settings: PatientSplitSettings, protocol: Protocol) -> Split:
    """The split by patient that the settings ask for, as the protocol wants it. UserError with fewer than three patients."""
    validation, test = settings.validation_fraction, settings.test_fraction
    fractions = (1 - validation - test, validation, test)
    rule = f"by patient, {fractions[0]:.2g} / {fractions[1]:.2g} / {fractions[2]:.2g}, seed {settings.split_seed}"
    return as_protocol_wants(split_by_patient(cases, fractions, settings.split_seed, rule), protocol)


def as_protocol_wants(split: Split, protocol: Protocol) -> Split:
    """The split itself, or, where the protocol is ``validation-is-test``, with the test part as the validation part, too."""
    if protocol.split != "validation-is-test":
        return split
    rule = f"{split.rule}; validation = test, as protocol {protocol.id} has it"
    return Split(split.train, split.test, split.test, rule, patient_disjoint=False)
