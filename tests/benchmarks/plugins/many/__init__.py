"""As many patients as one asks for, all of them with the same two files of k-space: a gigabyte of disk stands for a hundred."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mcsr_bench.data.raw.file_pair import FilePairDataset
from mcsr_bench.data.raw.kspace_file import inspect
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.split import DatasetSettings, Split, split_by_patient
from mcsr_bench.protocol import Protocol
from mcsr_bench.system.files import digest


class ManySettings(DatasetSettings):
    patients: int = 4


@dataclass
class Many(FilePairDataset):
    settings: ManySettings

    Settings: ClassVar[type[DatasetSettings]] = ManySettings

    @property
    def contrasts(self) -> tuple[str, str]:
        return "FS-PD", "PD"

    def cases(self) -> list[Case]:
        files = tuple(str(self.root / f"{name}.h5") for name in ("fs", "pd"))
        found = inspect(self.root / "fs.h5")
        names = [f"p{n:04d}" for n in range(self.settings.patients)]
        return [Case(name, name, found.slices, found.shape, files) for name in names]

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        return split_by_patient(cases, (0.6, 0.2, 0.2), 0, "by patient")

    def fingerprint(self) -> str:
        paths = [self.root / f"{name}.h5" for name in ("fs", "pd")]
        return digest([self.settings.patients, *map(self.digests(paths).get, paths)])
