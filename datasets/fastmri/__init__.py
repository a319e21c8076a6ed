"""fastMRI knee: FS-PD and PD volumes of the same knees as raw k-space, paired by the lists that SANet and MINet published.

Formats and traps: fastMRI's documentation and loader (Zbontar et al., arXiv:1811.08839); reading as in the published SANet
pipeline up to its complex 320 x 320 image. ``card.toml`` describes the files and what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mcsr_bench.data.raw.file_pair import FilePairDataset
from mcsr_bench.data.raw.patients import components
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import BadDataError, Case, Finding
from mcsr_bench.plugin.split import DatasetSettings, Split
from mcsr_bench.protocol import Protocol
from mcsr_bench.system.files import digest

from .catalogue import Coils, Row, catalogue
from .pairs import PairLists, own_lists, published_lists, shown


class FastMRISettings(DatasetSettings):
    """``--set fastmri.KEY=VALUE``."""

    choosing: ClassVar[frozenset[str]] = frozenset(
        {"coils", "mismatch", "train_pairs", "test_pairs", "validation_fraction", "split_seed"}
    )

    target: Literal["FS-PD", "PD"] = "FS-PD"
    """The contrast that is super-resolved; the other one is the auxiliary. The lists' columns stay PD, FS-PD."""
    coils: Coils = "auto"
    """Which folders to look in; auto: single-coil where it is there, else multi-coil, else DIR itself."""
    mismatch: Literal["keep", "drop"] = "keep"
    """What to do with pairs whose files have different patient_id."""
    train_pairs: str = ""
    """Own list (CSV without header: PD file, FS-PD file, optional score) instead of the published one; with test_pairs."""
    test_pairs: str = ""
    """Own list of the pairs that are tested on; with train_pairs."""
    validation_fraction: float = Field(default=0.1, gt=0, le=0.5)
    """Share of the train list's patients that choose the checkpoint, where the protocol leaves the test untouched."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of that choice."""


@dataclass
class FastMRI(FilePairDataset):
    """The fastMRI knee volumes named in the pair lists; see the module's text."""

    settings: FastMRISettings
    _listed: list[Case] | None = field(default=None, init=False, repr=False)
    """What `cases` found last."""

    Settings: ClassVar[type[DatasetSettings]] = FastMRISettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    revision: ClassVar[int] = 2

    @property
    def contrasts(self) -> tuple[str, str]:
        """("FS-PD", "PD"), or the other way round."""
        return ("FS-PD", "PD") if self.settings.target == "FS-PD" else ("PD", "FS-PD")

    def cases(self) -> list[Case]:
        """One case per pair, in the order of the lists, train list first; ``volume_id`` is the target file's name.

        ``patient_id`` is the smallest id of the component of patients that pairs link, over both lists. Raises one `BadDataError`
        with everything that is wrong with lists, files and pairs.
        """
        root = self.root
        lists = self._lists()
        rows, findings, problems = catalogue(root, lists, self.settings.coils)
        for finding in findings:
            self.note(finding)
        rows = self._check_patients(rows, lists, root)
        patient = components((r.pd.patient_id, r.fspd.patient_id) for r in rows)
        self._listed = [self._case(row, patient[row.pd.patient_id]) for row in rows]
        if problems:
            raise BadDataError("fastmri", problems, self._listed, root)
        if not lists.published:
            _refuse_shared(rows, patient)
        return list(self._listed)

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """The lists' own split, as the protocol wants it.

        ``test-untouched``: the test list is the test; train pairs that share a patient with it are left out, and validation
        is carved out of the others by patient. ``validation-is-test``: train list, and the test list for both other parts.
        Raises UserError when too few patients are left to carve out a validation part.
        """
        lists = self._lists()
        tested = {(p.fspd if self.settings.target == "FS-PD" else p.pd) for p in lists.test}
        test = tuple(c.volume_id for c in cases if c.volume_id in tested)
        train = [c for c in cases if c.volume_id not in tested]
        test_patients = {c.patient_id for c in cases if c.volume_id in tested}
        touching = [c for c in train if c.patient_id in test_patients]
        shared, where = [c.volume_id for c in touching], touching[0].files[0] if touching else ""
        whose = "published" if lists.published else "own"
        if protocol.split == "validation-is-test":
            if shared:
                message = f"{len(shared)} of {len(train)} train pairs share a patient with the test list and are kept, as published"
                self.note(Finding("warning", "train-touches-test", where, message, marks=True))
            rule = f"{whose} lists; validation = test = the test list, as the published code does"
            return Split(tuple(c.volume_id for c in train), test, test, rule, patient_disjoint=False)
        if shared:
            message = f"{len(shared)} of {len(train)} train pairs share a patient with the test list and are left out"
            self.note(Finding("warning", "train-touches-test", where, f"{message}: {shown(shared)}"))
        usable = [c for c in train if c.patient_id not in test_patients]
        validating = self._validation_patients(sorted({c.patient_id for c in usable}))
        rule = (
            f"{whose} lists; test = the test list, validation = {self.settings.validation_fraction:g} of the train list's "
            f"patients (seed {self.settings.split_seed}), {len(shared)} train pairs left out that share a patient with the test"
        )
        return Split(
            train=tuple(c.volume_id for c in usable if c.patient_id not in validating),
            validation=tuple(c.volume_id for c in usable if c.patient_id in validating),
            test=test,
            rule=rule,
        )

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every listed file and over which one is target and which auxiliary."""
        cases = self.cases() if self._listed is None else self._listed
        known = self.digests(Path(file) for case in cases for file in case.files)
        return digest([[c.volume_id, *(known[Path(file)] for file in c.files)] for c in cases])

    def _lists(self) -> PairLists:
        s = self.settings
        return own_lists(s.train_pairs, s.test_pairs) if s.train_pairs or s.test_pairs else published_lists()

    def _check_patients(self, rows: list[Row], lists: PairLists, root: Path) -> list[Row]:
        """Findings on pairs that are of two patients, one for each and one for all; with ``mismatch=drop`` they are left out."""
        wrong = [r for r in rows if r.mismatched]
        if not wrong:
            return rows
        drop = self.settings.mismatch == "drop"
        for row in wrong:
            names = f"{row.fspd.path.stem} is of patient {row.fspd.patient_id} and {row.pd.path.stem} of {row.pd.patient_id}"
            message = f"{names}, but the two are a pair, which is {'left out' if drop else 'kept'}"
            self.note(Finding("warning", "patient-mismatch", str(row.fspd.path), message))
        message = (
            f"{len(wrong)} of {len(rows)} {'published' if lists.published else 'listed'} pairs are of two patients by patient_id "
            f"and are {'left out' if drop else 'kept'}: {shown([f'{r.pd.path.stem}/{r.fspd.path.stem}' for r in wrong], 5)}"
        )
        self.note(Finding("warning", "patient-mismatch", str(root), message, marks=True))
        kept = [r for r in rows if not r.mismatched] if drop else rows
        for part, test in (("train", False), ("test", True)):
            if drop and not any(r.test == test for r in kept):
                raise UserError(
                    f"fastmri.mismatch=drop leaves no {part} pair: every one is of two patients by patient_id"
                )
        return kept

    def _case(self, row: Row, patient: str) -> Case:
        target, auxiliary = (row.fspd, row.pd) if self.settings.target == "FS-PD" else (row.pd, row.fspd)
        files = (str(target.path), str(auxiliary.path))
        return Case(patient, target.path.stem, row.slices, target.shape, files)

    def _validation_patients(self, patients: list[str]) -> set[str]:
        if len(patients) < 2:
            raise UserError(
                f"fastmri: {len(patients)} train patients are left besides those of the test list; at least 2 are needed, "
                "one of them to validate"
            )
        order = np.random.default_rng(np.random.SeedSequence([self.settings.split_seed, 4711])).permutation(
            len(patients)
        )
        n = min(max(1, round(self.settings.validation_fraction * len(patients))), len(patients) - 1)
        return {patients[i] for i in order[:n]}


def _refuse_shared(rows: list[Row], patient: dict[str, str]) -> None:
    """UserError when own lists have a patient on both sides."""
    tested = {patient[r.pd.patient_id]: r for r in rows if r.test}
    both = [(r, tested[patient[r.pd.patient_id]]) for r in rows if not r.test and patient[r.pd.patient_id] in tested]
    if both:
        (train, test), who = both[0], patient[both[0][0].pd.patient_id]
        raise UserError(
            f"fastmri.train_pairs and fastmri.test_pairs share patients: {len(both)} train pairs, e.g. "
            f"{train.pd.path.stem}/{train.fspd.path.stem} with {test.pd.path.stem}/{test.fspd.path.stem} (patient_id {who}); "
            "take them out of one of the lists"
        )
