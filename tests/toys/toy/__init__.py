"""Ellipses in two contrasts with smooth phase: a dataset small enough for tests of the engine."""

import os
import signal
from collections.abc import Iterator, Sequence

import numpy as np

from mcsr_bench import Case, Dataset, DatasetSettings, Slice, Split, UserError, split_by_patient
from mcsr_bench.engines.processes import SLOT
from mcsr_bench.plugin.case import Grid
from mcsr_bench.protocol import Protocol
from mcsr_bench.system.files import digest


class ToySettings(DatasetSettings):
    patients: int = 10
    slices: int = 2
    size: int = 32
    seed: int = 0
    fault: str = ""
    solid: bool = False
    """Slices show one body, a little larger from each to the next; otherwise each has its own ellipses."""
    apart: int = 0
    """Rows by which the auxiliary's grid begins lower, in the patient; the anatomy stays where it is."""


class Toy(Dataset):
    Settings = ToySettings
    needs_root = False

    @property
    def contrasts(self) -> tuple[str, str]:
        return "B", "A"

    def cases(self) -> list[Case]:
        s = self.settings
        return [Case(f"p{i:02d}", f"p{i:02d}-v0", s.slices, (s.size, s.size)) for i in range(s.patients)]

    def read(self, case: Case) -> Iterator[Slice]:
        s = self.settings
        if s.fault == "raise" and case.patient_id == "p03":
            raise UserError("p03.h5: truncated")
        if s.fault == "bug" and case.patient_id == "p03":
            raise ZeroDivisionError("a mistake of the plugin's")
        if s.fault == "killed" and case.patient_id == "p03" and SLOT in os.environ:  # in a worker alone
            os.kill(os.getpid(), signal.SIGKILL)
        y, x = np.mgrid[: s.size, : s.size] / s.size - 0.5
        for k in range(s.slices):
            rng = np.random.default_rng([s.seed, int(case.patient_id[1:]), 0 if s.solid else k])
            grown = 1 + 0.08 * k if s.solid else 1.0
            target, auxiliary = np.zeros((2, s.size, s.size))
            for _ in range(8):
                cy, cx = rng.uniform(-0.3, 0.3, 2)
                ry, rx = rng.uniform(0.05, 0.25, 2) * grown
                inside = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
                target[inside] += rng.uniform(0.2, 1)
                auxiliary[inside] += rng.uniform(0.2, 1)
            phase = np.exp(1j * (0.5 + x + 2 * y * x))
            image = (target * phase).astype(np.complex64)
            if s.fault == "nan" and case.patient_id == "p03" and k == 1:
                image[3, 4] = np.nan
            if s.fault == "zero" and case.patient_id == "p03":
                image[:] = 0
            if s.fault == "empty-slice" and k == 0:
                image[:] = 0
            yield image, (auxiliary * phase).astype(np.complex64)

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        s = self.settings
        if not s.apart:
            return None
        target, auxiliary = np.diag([3.0, 1, 1, 1]), np.diag([3.0, 1, 1, 1])
        auxiliary[1, 3] = s.apart
        shape = (s.slices, s.size, s.size)
        return tuple(Grid(shape, tuple(map(tuple, a.tolist()))) for a in (target, auxiliary))

    def read_contrast(self, case: Case, role: str) -> Iterator[np.ndarray]:
        apart = self.settings.apart
        for target, auxiliary in self.read(case):
            yield target if role == "target" else np.pad(auxiliary, ((0, apart), (0, 0)))[apart:]

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        return split_by_patient(cases, (0.4, 0.2, 0.4), self.settings.seed, "toy patients in seeded order")

    def fingerprint(self) -> str:
        return digest({"recipe": 1, **self.settings.model_dump()})
