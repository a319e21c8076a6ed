"""The leaderboard: the results of any number of runs as a folder of pages, with who vouches for each row."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mcsr_bench.audit.verify import verdicts
from mcsr_bench.engines.base import Engine
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import FileError, UserError
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.plugin.loading import SMOKE
from mcsr_bench.plugin.registry import reports, scoped_plugins
from mcsr_bench.plugin.report import Site
from mcsr_bench.results.load import Results, use_results
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener, Warnings

CONTENTS = "contents.json"
"""In the folder of a site: the names of all its files. A folder that holds something else is never replaced."""


def leaderboard(
    runs: str | Path | Iterable[str | Path],
    to: str | Path,
    *,
    plugins: str | Path | Iterable[str | Path] = (),
    data_root: str | Path | None = None,
    real_images: bool = False,
    jobs: int = 0,
    listener: Listener | None = None,
) -> Path:
    """Write the leaderboard of one or several runs into the folder ``to``, and return its first page.

    runs: their folders. Every bundle is verified first, as by `mcsr_bench.verify`; one without predictions is shown as claimed, and
    what fails is left out, of which the listener is told. Trials of preset smoke are not results. to: a folder that is not there,
    empty, or one that this wrote before and that holds nothing else. plugins: folders whose sub-folders are plugins, such as a
    third party's data set; what the runs name is never loaded. data_root: the folder with the files of a real data set, so that
    its bundles can be verified. real_images: publish slices of real data, too; their licence must allow it. jobs: worker processes;
    0: one per core. Raises UserError for a folder without results, a folder that may not be replaced, and nothing to show.
    """
    folders = [Path(run) for run in ((runs,) if isinstance(runs, (str, Path)) else runs)]
    if not folders:
        raise UserError("RUN...: at least one folder of a run is needed")
    named = [Path(path) for path in ((plugins,) if isinstance(plugins, (str, Path)) else plugins)]
    root = None if data_root is None else Path(data_root).expanduser()
    if root is not None and not root.is_dir():
        raise UserError(f"--data-root {root}: no such folder")
    final = Path(to).resolve()
    _check_replaceable(final, to)
    told = listener or Warnings()
    with scoped_plugins(named):
        found = _verdicts(folders, root, Processes(jobs), told, named)
        page = Path()

        def build(folder: Path) -> None:
            nonlocal page
            page = _write(folders, folder, found, told, real_images).relative_to(folder)
            names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
            files.write_json(folder / CONTENTS, sorted([*names, CONTENTS]))
            if final.exists():
                files.remove_folder(final)

        with files.claimed(final.parent):
            files.build_folder(final, build)
    return Path(to) / page


def _check_replaceable(folder: Path, to: str | Path) -> None:
    """UserError where something stands in the place of the site that this did not write."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--to {to}: is a file, not a folder")
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    try:
        known = files.read_json(folder / CONTENTS) if there else []
    except (OSError, ValueError):
        known = []
    if foreign := sorted(there - {name for name in known if isinstance(name, str)}):
        raise UserError(
            f"--to {to}: holds {foreign[0]}, which `leaderboard` did not write; choose a new or empty folder, or an earlier site"
        )


def _verdicts(
    runs: Sequence[Path], root: Path | None, engine: Engine, listener: Listener, plugins: Sequence[Path]
) -> dict[Path, Verdict]:
    found: dict[Path, Verdict] = {}
    for run in runs:
        for one in verdicts(run, root, engine, listener, plugins, scores_alone=True):
            found[one.folder] = one
            if one.outcome == "failed":
                listener.warning(f"{one.folder}: {one.reasons[0]}; the trial is left out of the leaderboard")
    return found


def _write(
    runs: Sequence[Path], to: Path, verdicts: Mapping[Path, Verdict], listener: Listener, real_images: bool
) -> Path:
    site = _site()
    failed = [folder for folder, one in verdicts.items() if one.outcome == "failed"]
    nothing = f"{', '.join(map(str, runs))}: no finished trial to show (trials of preset smoke are not results)"
    if len(failed) == len(verdicts):
        raise UserError(nothing)

    def damaged(error: FileError) -> bool:
        listener.warning(f"{error}; the trial is left out of the leaderboard")
        return False

    def use(results: Results) -> Path:
        shown = results.of(lambda record: record.preset != SMOKE) if _any_smoke(results) else results
        if shown.volumes.empty:
            raise UserError(nothing)
        for left in to.iterdir():  # of an attempt that met a damaged file
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return site.write(shown, to, verdicts=verdicts, real_images=real_images)

    return use_results(runs, use, damaged, without=failed)[1]


def _any_smoke(results: Results) -> bool:
    return any(record.preset == SMOKE for record in results.records)


def _site() -> Site:
    made: Site = reports().load(defaults().site)()
    return made
