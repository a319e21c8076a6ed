"""Who trains, validates and tests: splits by patient, and the settings that choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mcsr_bench.errors import UserError, one_line
from mcsr_bench.plugin.case import Case
from mcsr_bench.protocol import Protocol
from mcsr_bench.system.files import digest


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
                raise UserError(f"the split has no {name} cases ({self.rule}); more patients are needed")
            unknown = sorted(set(part) - patient.keys())
            if unknown:
                raise UserError(
                    f"the split's {name} part names cases that the dataset does not have: {', '.join(unknown[:5])}"
                )
            if len(set(part)) != len(part):
                raise UserError(f"the split's {name} part names a case twice")
        again = sorted(set(self.train) & {*self.validation, *self.test})
        if again:
            raise UserError(f"case {again[0]} is in the train part of the split and in another one")
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
