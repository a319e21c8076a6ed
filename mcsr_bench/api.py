"""What programs call: one function per command about experiments, data and results; the command line is a thin skin over it.

The other commands' functions stand beside their subjects; all are public names of `mcsr_bench`. Arguments, where several functions
have them:

- dataset, scale, seeds, methods, against: one or several. None: what ``suites/default.toml`` says.
- preset: "quick", "small", "paper" or "released". protocol: "mcsr-1" or "sanet-2021".
- data_root: the folder of a dataset's files. split: a file with the patients of train, validation and test.
- register: "none", "rigid" or "affine", how the auxiliary is brought onto the target; None: rigid where grids differ.
  store_dtype: "complex64", or "float16-pair" (half the disk, less precise).
- settings: name of a method or dataset -> setting -> value, what differs from preset or card.
- plugins: folders whose sub-folders are plugins; they are known for this call alone.
- device: "auto", "cpu" or "cuda". jobs: worker processes; 0: one per core (GPU).
- listener: is told of progress and warnings; None: in a notebook progress is shown under the cell, elsewhere it is silent;
  warnings come as Python's.

`UserError`, one sentence, is raised for anything asked that cannot be had, in the words of the command line's options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mcsr_bench.audit.stress import stress_run
from mcsr_bench.cost import table as cost_table
from mcsr_bench.data.check import Checked, check_datasets
from mcsr_bench.data.prepare import Prepared, prepare_all
from mcsr_bench.data.prepare import write_folds as write_folds_of
from mcsr_bench.engines.processes import Processes
from mcsr_bench.experiment import tune as tuning
from mcsr_bench.experiment.asking import Folders, Names, Numbers, data_spec, experiment_spec, several
from mcsr_bench.experiment.report import build_report, make_report
from mcsr_bench.experiment.run import run_then
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.plugin.given import MethodNames, named
from mcsr_bench.plugin.registry import methods as method_registry
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.plugin.report import FORMATS
from mcsr_bench.predicting.files import PredictionOutcome, chosen_weights, predict_files
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.table import Table
from mcsr_bench.system.computing import Computing
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.system.notebook import standard_listener
from mcsr_bench.system.progress import Listener


@dataclass(frozen=True, repr=False)
class RunResults(Results):
    """All results in the folder of a run, and what this call did."""

    asked: tuple[TrialRecord, ...]
    """The records of the trials asked for, in the order of tables; ``status`` is "done" or "failed"."""
    tables: tuple[Table, ...]
    """What the command line prints."""
    files: tuple[Path, ...]
    """The report's files, the one to open first in front."""

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *(f"report: {path}" for path in self.files[:1])])


def run(
    methods: MethodNames | None = None,
    dataset: Names | None = None,
    scale: Numbers | None = None,
    *,
    suite: Names | None = None,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    pretrained: bool = False,
    protocol: str | None = None,
    seeds: Numbers | None = None,
    against: Names | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
    device: str = "auto",
    precision: str | None = None,
    resident: str = "auto",
    compile: bool = False,
    devices: int = 1,
    jobs: int = 0,
    fresh: bool = False,
    listener: Listener | None = None,
) -> RunResults:
    """Run an experiment (or what is missing of it), write its report, and return its results.

    ``run(methods=["sanet", "minet"], dataset="fastmri", scale=4, data_root="...", out="runs/knee")``. methods: names, or "all";
    also classes of your own with a ``Card``, whose trials run in this process, after the others (docs/notebooks.md).
    suite: experiments of the paper by name. pretrained: with the weights that come with the methods, of preset "small"; nothing is
    trained (docs/shipped-weights.md). precision, resident, compile, devices: how trainings compute
    (`mcsr_bench.system.computing.Computing`). out: the folder of the run. against: the references of the p-values, which the first
    run of a folder fixes for all later ones. fresh: start the named trials over. The other arguments: `mcsr_bench.api`. Trials that
    fail are recorded in ``.trials`` with status "failed" and their reason. Raises UserError, before the first trial, for anything
    asked that cannot be had.
    """
    with scoped_plugins(plugins):
        names, given = named(methods)
    spec = experiment_spec(
        names,
        dataset,
        scale,
        suite=suite,
        data_root=data_root,
        split=split,
        out=out,
        preset=preset,
        pretrained=pretrained,
        protocol=protocol,
        seeds=seeds,
        against=against,
        register=register,
        store_dtype=store_dtype,
        settings=settings,
        plugins=plugins,
        device=device,
        computing=Computing(precision=precision, resident=resident, compile=compile, devices=devices),
        jobs=jobs,
        fresh=fresh,
    )
    with scoped_plugins(spec.data.plugins, given):
        found, asked, (tables, written) = run_then(spec, partial(make_report, spec), listener or standard_listener())
    return RunResults(
        found.folders, found.bundles, found.trials, found.volumes, tuple(asked), tuple(tables), tuple(written)
    )


def prepare(
    dataset: Names | None = None,
    scale: Numbers | None = None,
    *,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    protocol: str | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
    jobs: int = 0,
    listener: Listener | None = None,
) -> list[Prepared]:
    """Validate datasets and build their prepared data, without training anything: one `Prepared` per dataset and scale.

    Its ``.data`` is what results later say of the data, ``.store`` the arrays on disk. Arguments: `mcsr_bench.api`. Raises
    UserError for anything asked that cannot be had, and data that cannot be used.
    """
    with scoped_plugins(plugins):
        asked = data_spec(
            dataset,
            scale,
            data_root=data_root,
            split=split,
            protocol=protocol,
            register=register,
            store_dtype=store_dtype,
            settings=settings,
            plugins=plugins,
        )
        return prepare_all(asked, Processes(jobs), listener or standard_listener())


def check_data(
    dataset: Names | None = None,
    scale: Numbers | None = None,
    *,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    protocol: str | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
    jobs: int = 0,
    listener: Listener | None = None,
) -> list[Checked]:
    """Look at every file of datasets and say all findings; nothing is built.

    Returns one `Checked` per dataset; ``.usable`` says whether nothing forbids a run. Arguments: `mcsr_bench.api`. Raises
    UserError only for what is asked: what is wrong with data is a finding.
    """
    with scoped_plugins(plugins):
        asked = data_spec(
            dataset,
            scale,
            data_root=data_root,
            split=split,
            protocol=protocol,
            register=register,
            store_dtype=store_dtype,
            settings=settings,
            plugins=plugins,
        )
        return check_datasets(asked, Processes(jobs), listener or standard_listener())


def write_folds(
    dataset: Names | None = None,
    *,
    folds: int,
    to: str | Path,
    seed: int = 0,
    data_root: str | Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
) -> list[Path]:
    """Write ``to``/fold1.json and on, each a ``split`` of `run`: a cross-validation by patient. Returns the files.

    Every patient is tested in exactly one of them. dataset: one. seed: of the order of patients. Other arguments:
    `mcsr_bench.api`. Raises UserError for fewer patients than the folds need, and a folder that holds something else.
    """
    with scoped_plugins(plugins):
        asked = data_spec(dataset, data_root=data_root, settings=settings, plugins=plugins)
        return write_folds_of(asked, folds, Path(to), seed)


def tune(
    method: str,
    dataset: str | None = None,
    scale: int | None = None,
    *,
    to: str | Path | None = None,
    folds: int | None = None,
    trials: int | None = None,
    preset: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
    device: str = "auto",
    jobs: int = 0,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Search a method's settings by cross-validation on the development patients; the same call again resumes.

    to: the folder of the search; None: ``runs/tune-METHOD``. folds, trials (points of the space): None: as the card says. seed: of
    the folds, the search and the networks. Other arguments: `mcsr_bench.api`. Returns what `tuned_file` then holds: ``points``,
    ``best`` (None where in each point a trial failed), ``set`` and what they are about. Raises UserError for anything asked that
    cannot be had.
    """
    given = {name: dict(changes) for name, changes in (settings or {}).items()}
    asked = tuning.SearchSpec(
        data=data_spec(
            dataset,
            scale,
            data_root=data_root,
            split=split,
            protocol=protocol,
            register=register,
            store_dtype=store_dtype,
            settings={name: changes for name, changes in given.items() if name != method},
            plugins=plugins,
        ),
        method=method,
        settings=given.get(method, {}),
        preset=defaults().preset if preset is None else preset,
        seed=seed,
        folds=folds,
        trials=trials,
        out=tuned_file(method, to).parent,
        device=device,
        jobs=jobs,
    )
    with scoped_plugins(plugins):
        return tuning.tune(asked, listener or standard_listener())


def tuned_file(method: str, to: str | Path | None = None) -> Path:
    """Where `tune` writes what it found."""
    return (Path("runs") / f"tune-{method}" if to is None else Path(to)) / tuning.TUNED


def report(
    runs: str | Path | Iterable[str | Path],
    to: str | Path,
    *,
    against: Names | None = None,
    formats: Names | None = None,
    plugins: Folders = (),
    listener: Listener | None = None,
) -> tuple[list[Table], list[Path]]:
    """Write tables, statistics and figures of the folders of one or several runs into the folder ``to``.

    against: the references of the p-values; None: those that the runs fixed; others are called exploratory. formats: of "html",
    "md", "latex", "csv"; None: all. plugins: known for this call alone; those that the runs name are not loaded. listener: is
    told of damaged bundles, which are left out. Returns the main tables, and the files, the one to open first in front. Raises
    UserError for a folder without results, results that may not stand in one table, an unknown format, and nothing to report.
    """
    with scoped_plugins(plugins):
        return build_report(
            [Path(one) for one in several(runs)],
            Path(to),
            against=several(against),
            formats=several(formats, FORMATS),
            listener=listener or standard_listener(),
        )


def stress(
    run: str | Path,
    *,
    plugins: Folders = (),
    device: str = "auto",
    jobs: int = 0,
    listener: Listener | None = None,
) -> tuple[Table, list[str]]:
    """Predict again from the stored weights of a run with a wrong auxiliary: zero, another patient's, shifted, rotated, noisy.

    run: its folder. Plugins that it names are not loaded: give them. Other arguments: `mcsr_bench.api`. Returns the table of what
    each method loses (dB), and what could not be done, a sentence each. Raises UserError when there is nothing to stress.
    """
    with scoped_plugins(plugins):
        return stress_run(
            Path(run),
            Processes(jobs),
            plugins=tuple(Path(path) for path in several(plugins)),
            device=chosen_device(device),
            listener=listener or standard_listener(),
        )


def profile(
    methods: MethodNames = "all",
    scale: Numbers = (2, 4),
    *,
    size: int = 320,
    preset: str = "paper",
    device: str = "auto",
    timed: bool | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
) -> list[dict[str, Any]]:
    """Parameters, multiply-accumulates and times of methods: a row per method and scale it has.

    size: HR pixels per side. timed: take times; None: on a GPU, or for small networks. Other arguments: `mcsr_bench.api`. A row
    has name, scale, preset, parameters, trainable_parameters, dead_parameters, macs, flops, uncounted, size, dtype and
    ``timing`` (None, or seconds and bytes as in `mcsr_bench.cost.timing.Timing`). Raises UserError for an unknown name, preset
    or setting, and a size that does not suit a scale.
    """
    with scoped_plugins(plugins):
        names, given = named(methods)
        with scoped_plugins(classes=given):
            return cost_table.profile(
                method_registry().names() if names in (None, ("all",)) else names,
                several(scale),
                preset=preset,
                size=size,
                device=chosen_device(device),
                timed=timed,
                settings=settings,
            )


def predict(
    bundle: str | Path | None,
    target: str | Path,
    to: str | Path,
    auxiliary: str | Path | None = None,
    *,
    method: str | None = None,
    scale: int | None = None,
    device: str = "auto",
    plugins: Folders = (),
    progress: Callable[[int, int], None] | None = None,
) -> PredictionOutcome:
    """Super-resolve a volume of your own with stored weights, and write it to ``to``, a file of the target's kind.

    bundle: the folder of a finished trial, or of imported weights; None: the weights that come with ``method`` at ``scale``.
    target: NIfTI or HDF5 of LR size. auxiliary: the same slices of the other contrast at HR size (LR size for joint methods); None
    for a single-contrast method. plugins: known for this call alone. progress: called with (done, total) slices. ``.lines()`` of
    what is returned is for people. Raises UserError for a bundle or file that cannot be used, and files that do not belong
    together.
    """
    with scoped_plugins(plugins):
        return predict_files(
            chosen_weights(bundle, method, scale),
            Path(target),
            None if auxiliary is None else Path(auxiliary),
            Path(to),
            chosen_device(device),
            report=progress,
        )
