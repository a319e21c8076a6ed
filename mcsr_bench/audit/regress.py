"""Has a run's score moved from the reported one? A gate that is never green for having measured nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcsr_bench.audit.regress_asked import asked, in_scope, missing
from mcsr_bench.audit.regress_limits import ROUNDING, allowed, moved, seeds_needed, smallest_loss
from mcsr_bench.audit.regress_numbers import Number, numbers_of, read_reported, write_reported
from mcsr_bench.audit.regress_outcome import Compared, Regression
from mcsr_bench.errors import DamagedFileError, FileError, UnreadFileError, UserError
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.load import use_results
from mcsr_bench.results.run_folder import RunFolder

TIMES = 2.0
"""A time, over that of the pace method, is told of when it is so many times the recorded one, or less than one over that."""


class IncompleteRunError(UserError):
    """A run that lacks trials it was asked for, where a complete one is needed; the command line ends with exit code 3."""


def regress(run: str | Path, against: str | Path) -> Regression:
    """Compare the scores of a run with reported numbers.

    against: a file that `write_numbers` made. The mean over patients of psnr@volume-max is compared: of methods without training
    it may differ by 0.01 dB, of others by t(1 - .01 / (2 K); n - 1) s sqrt(1/k + 1/n), with K comparisons, n reported seeds of
    standard deviation s and k new ones. Parameters and multiply-accumulates have to be equal; times, over those of one method of
    the same run, are told of. Raises UserError for a folder or file that is missing or cannot be read, and trials of preset smoke.
    """
    folder, reported = Path(run), read_reported(Path(against))
    records, numbers, wrong = _read(folder, reported.pace)
    spec = asked(folder)
    known = {number.key: number for number in reported.numbers}
    pairs, apart, extra = [], [], []
    for number in numbers:
        before = known.get(number.key)
        if before is None:
            extra.append(f"{number.trial}: {against} has no number of it")
        elif differs := _not_comparable(number, before):
            apart.append(f"{number.trial}: has {differs}")
        else:
            pairs.append((number, before))
    there, places = {number.key for number in numbers}, {number.key[:3] for number in numbers}
    wrong += [
        f"{number.trial}: the run has no score of {number.contrast}"
        for number in reported.numbers
        if number.key[:3] in places and number.key not in there
    ]
    scope = places | set(in_scope(spec, reported.numbers) if spec else ())
    return Regression(
        compared=tuple(_compared(now, before, len(pairs), reported.pace) for now, before in pairs),
        missing=(*wrong, *missing(folder, spec, records, reported.numbers)),
        not_comparable=tuple(apart),
        extra=tuple(extra),
        not_asked=tuple(number.trial for number in reported.numbers if number.key[:3] not in scope),
    )


def write_numbers(run: str | Path, to: str | Path) -> Path:
    """Write the scores of a complete run as reported numbers, which `regress` compares with. Returns the file.

    Methods that train need several seeds: their spread decides what counts as a move. Raises IncompleteRunError, a UserError, for
    a run that lacks a trial it was asked for; UserError for a folder that is not there, one seed, and trials of preset smoke.
    """
    folder, path, pace = Path(run), Path(to), defaults().pace
    if path.is_dir():
        raise UserError(f"--write {path}: is a folder, not a file")
    records, numbers, wrong = _read(folder, pace)
    if lacks := [*wrong, *missing(folder, asked(folder), records, ())]:
        more = f" (and {len(lacks) - 1} more)" if len(lacks) > 1 else ""
        raise IncompleteRunError(f"{folder}: is incomplete, and its numbers cannot be reported: {lacks[0]}{more}")
    try:
        write_reported(path, numbers, pace)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from None
    return path


def _read(run: Path, pace: str) -> tuple[Sequence[TrialRecord], list[Number], list[str]]:
    """The records of a run, its numbers, and what has none, a sentence each: damaged bundles, too."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder of results")
    if not any(RunFolder(run).trials()):
        return (), [], [f"{run}: holds no trial"]
    damaged: list[str] = []

    def told(error: FileError) -> bool:
        damaged.append(str(error))
        return False

    try:
        results, (numbers, without) = use_results([run], lambda found: numbers_of(found, pace), told)
    except (DamagedFileError, UnreadFileError) as error:
        return (), [], damaged or [str(error)]
    return results.records, numbers, [*damaged, *without]


def _not_comparable(now: Number, before: Number) -> str:
    """Why two numbers of one thing cannot be compared, as a clause, or ""."""
    if now.metric != before.metric:
        return f"another revision of the metric ({now.metric}; reported: {before.metric})"
    if now.retrained != before.retrained:
        return f"{'trained' if now.retrained else 'untrained'} weights (reported: {'trained' if before.retrained else 'untrained'})"
    return now.basis.differs(before.basis, "reported")


def _compared(now: Number, before: Number, comparisons: int, pace: str) -> Compared:
    new, old = now.scores, before.scores
    trained = before.retrained
    k = len(new)
    return Compared(
        trial=now.trial,
        retrained=trained,
        reported=_mean(old),
        now=_mean(new),
        reported_seeds=len(old),
        seeds=k,
        allowed=float(allowed(old, k, comparisons)) if trained else ROUNDING,
        smallest_loss=smallest_loss(old, k, comparisons) if trained else ROUNDING,
        seeds_needed=seeds_needed(old, comparisons) if trained else 1,
        moved=bool(moved(old, new, comparisons, retrained=trained)),
        changed=tuple(
            f"{what} {_count(mine)} (reported: {_count(theirs)})"
            for what, mine, theirs in (
                ("parameters", now.parameters, before.parameters),
                ("MACs", now.macs, before.macs),
            )
            if mine != theirs
        ),
        times=tuple(
            f"to {stage} takes {now.times[stage]:.3g} times as long as {pace} (reported: {ratio:.3g})"
            for stage, ratio in before.times.items()
            if stage in now.times and not 1 / TIMES <= now.times[stage] / ratio <= TIMES
        ),
    )


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _mean(scores: Sequence[float]) -> float:
    """The mean in dB; of equal scores exactly these, which a sum divided by their number is not."""
    first = scores[0]
    return float(first + np.mean([score - first for score in scores]))
