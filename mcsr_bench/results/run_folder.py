"""The folder of a run: where its experiment, its splits and the bundles of its trials are."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.results.bundle import CLAIMS, Bundle, BundleFiles, TrialRecord, check_version
from mcsr_bench.system import files


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and where things are in it."""

    root: Path

    @property
    def experiment(self) -> Path:
        """The grid as asked."""
        return self.root / "experiment.json"

    def asked(self) -> dict[str, Any]:
        """What `experiment` holds; nothing where it is missing. UserError when it cannot be read or is of another version."""
        if not self.experiment.is_file():
            return {}
        try:
            values = files.read_json(self.experiment)
            check_version(self.experiment, values, unsaid=1)
            return dict(values)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.experiment}: not a readable experiment: {str(error).splitlines()[0]}") from None

    def plugins(self) -> tuple[Path, ...]:
        """The folders of plugins that the run was given, as `experiment` names them. They are for people: nothing loads them.

        UserError as `asked`.
        """
        data = self.asked().get("data")
        named = data.get("plugins") if isinstance(data, dict) else None
        return tuple(Path(path) for path in named if isinstance(path, str)) if isinstance(named, list) else ()

    def hint(self) -> str:
        """How a command that lacks a plugin of the run is told of it, as the end of a sentence; "" where the run names none."""
        options = " ".join(f"--plugins {shlex.quote(str(path))}" for path in self.plugins())
        return (
            f"; plugins that a run names are not loaded by themselves: if you trust them, add {options}"
            if options
            else ""
        )

    @property
    def grid_lock(self) -> Path:
        """For who changes `experiment`, the splits and the registrations."""
        return self.root / CLAIMS / "experiment.lock"

    @property
    def report_lock(self) -> Path:
        """For who writes `report`."""
        return self.root / CLAIMS / "report.lock"

    @property
    def report(self) -> Path:
        """The folder of the report that a run writes at its end."""
        return self.root / "report"

    def split(self, dataset_label: str) -> Path:
        """The manifest of a dataset's split by patients."""
        return self.root / dataset_label / "split.json"

    def registrations(self, dataset_label: str) -> Path:
        """What the registration did to each volume of a dataset."""
        return self.root / dataset_label / "registration.csv"

    def trial(self, dataset_label: str, scale: int, method_label: str, seed: int) -> BundleFiles:
        """The place of a trial's bundle."""
        return BundleFiles(self.root / dataset_label / f"x{scale}" / method_label / f"seed{seed}")

    def trials(self) -> Iterator[BundleFiles]:
        """The places that hold a trial record, sorted; not those that were replaced."""
        found = sorted(folder for folder in self.root.glob("*/x*/*/seed*") if folder.name[4:].isdecimal())
        yield from (place for place in map(BundleFiles, found) if _there(place.trial))

    def linked(self, place: BundleFiles) -> bool:
        """Whether a place, or a folder between it and `root`, is a link: what is written there would leave the run."""
        seed = place.folder
        return any(folder.is_symlink() for folder in (seed, *seed.parents[:3]))  # those of method, scale and dataset

    def read(self, place: BundleFiles) -> TrialRecord | None:
        """The record in one of this run's places. DamagedFileError also for that of another place; errors as `read_record`."""
        record = place.read_record()
        if record is not None:
            names = (record.dataset_label, f"x{record.scale}", record.method_label, f"seed{record.seed}")
            if place.folder.parts[-4:] != names:
                raise DamagedFileError(place.trial, f"is the record of another trial ({record.label})")
            if self.linked(place):
                raise DamagedFileError(
                    place.trial, f"its folder is a link to {place.folder.resolve()}, outside the run"
                )
        return record

    def bundles(self, left_out: Container[Path] = ()) -> Iterator[Bundle]:
        """The bundles, sorted by folder, without the folders ``left_out``. Errors as `read`."""
        for place in self.trials():
            if place.folder not in left_out and (record := self.read(place)) is not None:
                yield Bundle(place.folder, record)


def _there(path: Path) -> bool:
    """Whether there is such a file; also where the disk does not say, as who reads it will learn."""
    try:
        return path.exists()
    except OSError:
        return True
