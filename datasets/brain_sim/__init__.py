"""brain-sim: simulated T1w/T2w brains with complex k-space, made from the ICBM152 template on first use.

Base anatomy from the template (`template`), folding, skull and scalp of every subject its own (`anatomy`), spin-echo contrasts,
phase and acquisition (`physics`), put together in `simulate`. Nothing here is patient data, and it is never called real.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Case, Finding, Slice
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.split import DatasetSettings, Split, split_by_patient
from mcsr_bench.protocol import Protocol
from mcsr_bench.system.files import digest

from .motion import Displacement
from .simulate import BRAIN, RECIPE, displacement_of, generate_subject

Contrast = Literal["T2w", "T1w", "PDw", "FLAIR"]

_FRACTIONS = (0.7, 0.1, 0.2)


class BrainSimSettings(DatasetSettings):
    """``--set brain-sim.KEY=VALUE``."""

    subjects: int = Field(default=60, ge=3, le=10_000)
    """Simulated subjects; 70 % train, 10 % validate, 20 % test."""
    slices: int = Field(default=4, ge=1, le=64)
    """Axial slices per subject, 4 mm thick, between basal ganglia and centrum semiovale."""
    size: int = Field(default=128, ge=16, le=1024)
    """Rows and columns of the k-space matrix over a field of view of 230 mm."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of the subjects and of the split."""
    target: Contrast = "T2w"
    """The contrast that is super-resolved."""
    auxiliary: Contrast = "T1w"
    """The contrast that helps."""
    misalignment_mm: float = Field(default=0.0, ge=0, le=20)
    """In-plane distance by which the head is shifted in the auxiliary, in a direction of the subject's own."""
    misalignment_deg: float = Field(default=0.0, ge=0, le=45)
    """In-plane angle by which it is rotated there, in either direction."""
    motion_mm: float = Field(default=0.45, ge=0, le=5)
    """Motion between the contrasts that registration leaves, each subject's own: standard deviation of the in-plane shift along
    either axis; 0.45 mm is a quarter of a pixel at size 128. With 0 here and for ``motion_deg`` the alignment is perfect."""
    motion_deg: float = Field(default=0.3, ge=0, le=5)
    """Standard deviation of the in-plane rotation that goes with it."""


@dataclass
class BrainSim(Dataset):
    """The simulated brains; see the module's text."""

    settings: BrainSimSettings
    _brain: tuple[str, NDArray[np.bool_]] = field(default=("", np.zeros(0, bool)), repr=False, compare=False)
    """Of the case read last, by its volume_id."""

    Settings: ClassVar[type[DatasetSettings]] = BrainSimSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    needs_root: ClassVar[bool] = False
    revision: ClassVar[int] = 2

    @property
    def contrasts(self) -> tuple[str, str]:
        """Target and auxiliary as set: ("T2w", "T1w") by default."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per subject, ``subject-0000`` on. UserError when target and auxiliary are the same contrast."""
        s = self.settings
        if s.target == s.auxiliary:
            raise UserError(
                f"--set brain-sim.auxiliary={s.auxiliary}: that is the target; auxiliary must be another contrast"
            )
        if s.misalignment_mm or s.misalignment_deg:
            message = (
                f"the auxiliary is displaced on purpose, by {s.misalignment_mm:g} mm and {s.misalignment_deg:g} degrees"
            )
            finding = Finding("warning", "misaligned", "", message, marks=True)
            if finding not in self.findings:
                self.findings.append(finding)
        names = [f"subject-{subject:04d}" for subject in range(s.subjects)]
        return [Case(name, name, s.slices, (s.size, s.size)) for name in names]

    def read(self, case: Case) -> Iterator[Slice]:
        """Simulate one subject (half a second at 128, three at 320) and hand out its slices, lowest first.

        The same bytes whatever else is read, in which order and process.
        """
        s = self.settings
        images = generate_subject(
            _number(case),
            seed=s.seed,
            size=s.size,
            slices=s.slices,
            contrasts=self.contrasts,
            displacements={s.auxiliary: self.displacement(case)},
        )
        self._brain = case.volume_id, images[BRAIN]
        yield from zip(images[s.target], images[s.auxiliary], strict=True)

    def region_of_interest(self, case: Case) -> Iterator[NDArray[np.bool_]]:
        """The brain: what is inside the skull of the simulated anatomy."""
        if self._brain[0] != case.volume_id:
            next(iter(self.read(case)))
        return iter(self._brain[1])

    def displacement(self, case: Case) -> Displacement:
        """The truth about the alignment of one case: how far the head in the auxiliary is from that in the target."""
        s = self.settings
        return displacement_of(
            _number(case),
            seed=s.seed,
            misalignment_mm=s.misalignment_mm,
            misalignment_deg=s.misalignment_deg,
            motion_mm=s.motion_mm,
            motion_deg=s.motion_deg,
        )

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """70 / 10 / 20 % of the subjects; under a protocol that validates on the test data, validation is the test part."""
        rule = f"by subject, 70 % train, 10 % validation, 20 % test (seed {self.settings.seed})"
        split = split_by_patient(cases, _FRACTIONS, self.settings.seed, rule)
        if protocol.split == "validation-is-test":
            rule = f"by subject, 70 % train, 20 % test (seed {self.settings.seed}); validation = test, as the protocol says"
            return Split(split.train, split.test, split.test, rule, patient_disjoint=False)
        return split

    def fingerprint(self) -> str:
        """SHA-256 over the recipe's number and every setting."""
        return digest({"recipe": RECIPE, **self.settings.model_dump(mode="json")})

    def prepare_message(self) -> str:
        """The text of the progress bar while the subjects are simulated."""
        return f"simulating {self.settings.subjects} subjects of {self.name}"


def _number(case: Case) -> int:
    """The subject's number."""
    return int(case.volume_id.removeprefix("subject-"))
