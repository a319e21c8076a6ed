"""The trials of runs, read back as tables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd

from mcsr_bench.errors import DamagedFileError, FileError, UnreadFileError, UserError, damaged
from mcsr_bench.results import shown
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.identity import signatures
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.results.scores import IDENTITY, identity, score_table
from mcsr_bench.system import frames

T = TypeVar("T")
_TABLES = ("trials", "volumes", "slices", "signatures")


@dataclass(frozen=True, repr=False)
class Results:
    """The trials of one or several runs as tables; shown as a few lines, in a notebook as one small table.

    Columns of all three: dataset, scale, method, variant, seed, preset, protocol, protocol_hash, track (dataset carries its
    variant as ``NAME@VARIANT``). `trials` adds status, reason, folder; `volumes` adds patient_id, volume_id, role, contrast and a
    column per metric id; `slices` also slice_index.
    """

    folders: tuple[Path, ...]
    bundles: tuple[Bundle, ...]
    """One per row of `trials`, in the same order; each knows its own folder."""
    trials: pd.DataFrame
    volumes: pd.DataFrame

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """The records of `bundles`."""
        return tuple(bundle.record for bundle in self.bundles)

    @cached_property
    def slices(self) -> pd.DataFrame:
        """Read when first asked for: it is most of what a run holds, and few need it."""
        return score_table(self.bundles, lambda bundle: bundle.slices)

    def __repr__(self) -> str:
        return shown.text(self.folders, self.records, self.volumes)

    def _repr_html_(self) -> str:
        return shown.html(self.folders, self.records, self.volumes)

    @cached_property
    def signatures(self) -> pd.DataFrame:
        """What each score is: a row per finished trial and metric, with the trial's identity and the one line ``signature``."""
        rows = [
            {**identity(record), "metric": metric, "signature": line}
            for record in self.records
            if record.status == "done"
            for metric, line in signatures(record).items()
        ]
        return pd.DataFrame(rows, columns=[*IDENTITY, "metric", "signature"])

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write `trials`, `volumes`, `slices` and `signatures` into a folder, a CSV each. Returns the files."""
        return [self._write(Path(folder) / f"{name}.csv", frames.write_csv) for name in _TABLES]

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """The same as Parquet. UserError where pyarrow is missing, with the line that installs it."""
        return [self._write(Path(folder) / f"{name}.parquet", frames.write_parquet) for name in _TABLES]

    def _write(self, path: Path, write: Callable[[Path, pd.DataFrame], None]) -> Path:
        write(path, getattr(self, path.stem))
        return path

    def of(self, keep: Callable[[TrialRecord], bool]) -> Results:
        """The results of some of the trials."""
        return _results(self.folders, [bundle for bundle in self.bundles if keep(bundle.record)])


def load_results(*folders: str | Path) -> Results:
    """Read one or several run folders.

    Raises UserError when a folder is missing, given twice or holds no trial, DamagedFileError when a record or the scores of a
    finished trial are not those that were written, UnreadFileError when they cannot be read at the moment.
    """
    return _read(tuple(Path(f) for f in folders), ())


def training_log(bundle: Bundle) -> pd.DataFrame:
    """Step, loss and validation_psnr (dB) of a trial that wrote its training log. Errors as `load_results`."""
    path = bundle.checked(bundle.training_log)
    try:
        return frames.read_csv(path)[["step", "loss", "validation_psnr"]].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, f"cannot be read as a training log: {error}", error) from None


def use_results(
    folders: Sequence[Path],
    use: Callable[[Results], T],
    damaged: Callable[[FileError], bool],
    *,
    without: Iterable[Path] = (),
) -> tuple[Results, T]:
    """The results of run folders and what ``use`` makes of them, where a bundle with a damaged or unread file takes nothing down.

    Whenever there is such a file, now or in ``use``, ``damaged`` is told; it returns whether it could mend the bundle. If not, the
    bundle is left out; then all begins again. without: the folders of bundles that are not read at all. Raises UserError as
    `load_results`, and the first of those errors where nothing can be made of what is left.
    """
    left_out: dict[Path, FileError] = {}
    never = frozenset(without)
    while True:
        try:
            found = _read(tuple(folders), never | left_out.keys())
            return found, use(found)
        except (DamagedFileError, UnreadFileError) as error:
            if error.path.parent in left_out:
                raise
            if not damaged(error):
                left_out[error.path.parent] = error
        except UserError as error:
            if left_out:  # perhaps for want of what was left out, which is the reason to give
                raise next(iter(left_out.values())) from error
            raise


def _read(roots: tuple[Path, ...], left_out: Container[Path]) -> Results:
    found: list[Bundle] = []
    for number, root in enumerate(roots):
        if root.resolve() in [other.resolve() for other in roots[:number]]:
            raise UserError(f"{root}: is given twice")
        if not root.is_dir():
            raise UserError(f"{root}: no such folder of results")
        here = list(RunFolder(root).bundles(left_out))
        if not here:
            raise UserError(
                f"{root}: holds no trial (no trial.json below it)"
                if not left_out
                else f"{root}: holds no trial that can be used"
            )
        found += map(_as_it_is, here)
    return _results(roots, found)


def _as_it_is(bundle: Bundle) -> Bundle:
    """The bundle; one whose process ended without recording it, as a killed one does, is not running."""
    if bundle.record.status != "running" or bundle.owner() is not None:
        return bundle
    reason = (
        f"its process on {bundle.record.host or 'its machine'} ended without a word; the same command goes on with it"
    )
    return Bundle(bundle.folder, bundle.record.model_copy(update={"status": "interrupted", "reason": reason}))


def _results(roots: tuple[Path, ...], found: Sequence[Bundle]) -> Results:
    rows = [
        {
            **identity(bundle.record),
            "status": bundle.record.status,
            "reason": bundle.record.reason,
            "folder": str(bundle.folder),
        }
        for bundle in found
    ]
    trials = pd.DataFrame(rows, columns=[*IDENTITY, "status", "reason", "folder"])
    return Results(roots, tuple(found), trials, score_table(found, lambda bundle: bundle.volumes))
