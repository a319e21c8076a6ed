"""Keep what a table rests on, scores, records and training logs: ``python tests/budgets/publish.py RUN --to FOLDER``.

The copy is a run's folder: `mcsr-bench report` and `leaderboard` take it. Its records have the hashes of weights and predictions,
which are left out: it can be told whether others are those. Weights of seed 0 come with the methods (docs/shipped-weights.md).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mcsr_bench.errors import UserError
from mcsr_bench.experiment.kept import read_experiment
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files


def publish(run: Path, to: Path) -> int:
    """Copy the finished trials of a run into a new folder; returns their number. UserError where one has not finished."""
    spec = read_experiment(run)
    data = spec.data.model_copy(update={"root": None, "split": None})
    plain = spec.model_copy(update={"out": Path(to.name), "data": data})  # no path of this machine

    def build(folder: Path) -> None:
        for bundle in RunFolder(run).bundles():
            if bundle.record.status != "done":
                raise UserError(f"{bundle.folder}: is {bundle.record.status}; run the same command again")
            copy = folder / bundle.folder.relative_to(run)
            copy.mkdir(parents=True)
            logged = [bundle.training_log] if bundle.training_log.name in bundle.record.files else []
            for path in map(bundle.checked, (bundle.volumes, bundle.slices, *logged)):
                shutil.copyfile(path, copy / path.name)
            for path in (bundle.trial, bundle.stress):
                if path.is_file():
                    shutil.copyfile(path, copy / path.name)
        for split in run.glob("*/split.json"):
            shutil.copyfile(split, folder / split.relative_to(run))
        files.write_json(RunFolder(folder).experiment, plain.asked())

    files.build_folder(to, build)
    return len(list(RunFolder(to).trials()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    if asked.to.exists():
        parser.error(f"--to {asked.to}: is there already; remove it to publish again")
    print(f"{publish(asked.run, asked.to)} trials in {asked.to}")


if __name__ == "__main__":
    main()
