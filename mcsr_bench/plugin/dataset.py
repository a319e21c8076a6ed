"""What a dataset plugin is.

A dataset plugin subclasses `Dataset` in ``datasets/NAME/__init__.py`` beside a ``card.toml``. It knows files and formats and
nothing else: it lists its cases, hands out complex slices of target and auxiliary, and splits the patients. Cropping,
degrading, dropping empty slices and storing are the engine's work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Case, Finding, Grid, Slice, Stored
from mcsr_bench.plugin.split import DatasetSettings, Split
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import Role
from mcsr_bench.system.digests import digests
from mcsr_bench.system.progress import Listener

TOLD_FROM = 1 << 28
"""Bytes to hash, a fraction of a second, from which progress is shown."""
"""How many problems of a dataset one sentence lists."""


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
        """Who trains, validates, tests. Deterministic; by patient unless the user or the protocol sets it otherwise."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data: of generated data recipe, seed and sizes; of real data the bytes of the files listed."""

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        """The grids of target and auxiliary, read from headers; None where the files do not give them: then they share a grid.

        Where the two differ, the engine registers the case (``--register``) with `read_contrast`, and never calls `read`.
        """
        return None

    def read_contrast(self, case: Case, role: Role) -> Iterator[NDArray[np.complex64]]:
        """The slices of one contrast on its own grid, complex64 (H, W), in anatomical order, one at a time."""
        for target, auxiliary in self.read(case):
            yield target if role == "target" else auxiliary

    def raw_kspace(self, case: Case, role: Role, index: int) -> NDArray[np.complex64] | None:
        """K-space of one slice as stored in the file, complex64 (coils, H, W), for inspection; None where files hold images."""
        return None

    def reconstruction(self, case: Case, role: Role, index: int) -> NDArray[np.float32] | None:
        """The magnitude image (h, w) that the file holds beside `raw_kspace`, for inspection; None where it holds none."""
        return None

    def stored(self, case: Case, role: Role) -> Stored | None:
        """How a contrast is stored in its file, for the inspection; None for data that are not read from files."""
        return None

    def region_of_interest(self, case: Case) -> Iterator[NDArray[np.bool_]] | None:
        """Where a case is scored apart (``psnr@roi``): a mask (H, W) for each slice of `read`, on the target's grid.

        None, the default: the foregrounds of both contrasts together. Asked for after the case was read.
        """
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
        """The SHA-256 of every file's bytes, for `fingerprint`: read once, then remembered (`mcsr_bench.system.digests`).

        Raises UserError when a file cannot be read.
        """

        def told(done: int, total: int) -> None:
            if total >= TOLD_FROM:
                self.listener.preparing(f"reading the files of {self.name} (MB)", done // 10**6, total // 10**6)

        return digests(paths, told)

    def prepare_message(self) -> str:
        """The text of the progress bar while the store is built."""
        return f"preparing {self.name}"
