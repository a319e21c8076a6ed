"""Floor 4: settings chosen by cross-validation on the development patients; the test patients are neither read nor scored.

The search space and the budget stand in the method's card. Every point of the space is tried in all folds by normal trials, in
``DIR/points/NNN/foldK``; its score is the mean over folds of the patient mean of the objective on the held-out fold. Points are
asked one after the other of a seeded sampler that is told the scores, so that the same command again asks for the same points and
takes what is there. ``tuned.json``, written last, holds all of it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from mcsr_bench import files
from mcsr_bench.cards import Searched, Tuning
from mcsr_bench.dataset import Case, Dataset, Split
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError
from mcsr_bench.findings import refuse
from mcsr_bench.grid import ExperimentSpec, Point, points
from mcsr_bench.inspection import findings
from mcsr_bench.loading import SMOKE, check_method, load_dataset, smoke_settings
from mcsr_bench.prepared import check_cases, data_record, tell
from mcsr_bench.progress import Listener
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.registry import add_plugins, datasets, methods
from mcsr_bench.results.bundle import DataRecord, RunFolder, TrialRecord
from mcsr_bench.splits import folds as folds_of
from mcsr_bench.splits import split_of
from mcsr_bench.store import build_store
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.system.provenance import versions
from mcsr_bench.trial import TrialSpec
from mcsr_bench.trials import run_trials

if TYPE_CHECKING:
    import optuna

OBJECTIVE = "psnr@volume-max"
TUNING, TUNED = "tuning.json", "tuned.json"
_HOW = f"mean over folds of the patient mean of {OBJECTIVE} of the target on the held-out fold; higher is better"


@dataclass(frozen=True)
class _Search:
    """What is searched, and in which folds."""

    spec: ExperimentSpec
    point: Point
    """The method with the settings that are not searched."""
    tuning: Tuning
    """With the folds and trials of this search."""
    dataset: Dataset
    splits: tuple[Split, ...]
    data: tuple[DataRecord, ...]
    """One per fold."""
    device: str

    @property
    def seed(self) -> int:
        return self.spec.seeds[0]


def tune(
    spec: ExperimentSpec, folds: int | None = None, trials: int | None = None, listener: Listener | None = None
) -> dict[str, Any]:
    """Search the settings of one method on one dataset at one scale, and return what ``OUT/tuned.json`` then holds.

    spec: names one method, dataset, scale and seed; settings of the method that are set are held, and are none of the searched
    ones. folds, trials: else the card's. A point with a failed trial has no score; where none has one, ``best`` is None. Raises
    UserError for anything asked that cannot be had.
    """
    listener = listener or Listener()
    optuna = _optuna()
    search = _search(spec, folds, trials, listener)
    _claim(search)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=search.seed))
    space = {name: _distribution(optuna, searched) for name, searched in search.tuning.space.items()}
    listener.trials(search.tuning.trials * len(search.splits), _there(spec.out, search.tuning))
    tried = []
    for number in range(search.tuning.trials):
        asked = study.ask(space)
        found = _try(search, number, dict(asked.params), listener)
        if found["score"] is None:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(asked, found["score"])
        tried.append(found)
    scored = [point for point in tried if point["score"] is not None]
    best = max(scored, key=lambda point: (point["score"], -point["number"]), default=None)
    out = {
        **_header(search),
        "trials": search.tuning.trials,
        "marks": search.data[0].marks,
        "points": tried,
        "best": best and {key: best[key] for key in ("number", "values", "score")},
        "set": [f"{search.point.method}.{name}={value}" for name, value in best["values"].items()] if best else [],
        "versions": versions() | {"optuna": optuna.__version__},
    }
    files.write_json(spec.out / TUNED, out)
    return out


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise UserError('tune needs optuna: pip install "mcsr-bench[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _search(spec: ExperimentSpec, folds: int | None, trials: int | None, listener: Listener) -> _Search:
    """Everything checked, and the development patients' data prepared."""
    for path in spec.plugins:
        add_plugins(path)
    for option, several in (("--method", spec.methods), ("--dataset", spec.datasets), ("--scale", spec.scales)):
        if len(several) != 1 or several == ("all",):
            raise UserError(f"{option} {','.join(map(str, several))}: tune takes one")
    [point] = points(spec)
    tuning = _tuning(spec, point, folds, trials)
    protocol = get_protocol(spec.protocol)
    name = spec.datasets[0]
    card = datasets().card(name)
    small = smoke_settings(card, [methods().card(point.method)], spec.scales) if spec.preset == SMOKE else {}
    dataset = load_dataset(name, spec.data_root, **small | spec.settings.get(name, {}))
    dataset.listener = listener
    device = chosen_device(spec.device)
    cases = _development(dataset, protocol, spec.split)
    splits = tuple(folds_of(cases, tuning.folds, spec.seeds[0]))
    store = build_store(
        dataset,
        cases,
        protocol,
        point.scale,
        preparation=spec.preparation,
        engine=Processes(spec.jobs),
        listener=listener,
        plugins=spec.plugins,
    )
    seen = findings(store.facts, spec.scales)
    refuse(seen)
    tell((*dataset.findings, *store.findings, *seen), listener)
    data = tuple(data_record(dataset, store, split, spec.preparation, seen) for split in splits)
    return _Search(spec, point, tuning, dataset, splits, data, device)


def _tuning(spec: ExperimentSpec, point: Point, folds: int | None, trials: int | None) -> Tuning:
    """The card's search with the folds and trials asked for. UserError where something in it cannot be."""
    name = point.method
    tuning = methods().card(name).tuning
    if tuning is None:
        raise UserError(f"--method {name}: its card has no [tuning], so there is nothing to tune")
    for option, asked, least in (("--folds", folds, 3), ("--trials", trials, 1)):
        if asked is not None and asked < least:
            raise UserError(f"{option} {asked}: {least} or more are needed")
    for key, searched in tuning.space.items():
        if key in spec.settings.get(name, {}):
            raise UserError(f"--set {name}.{key}: is what tune searches; the space stands in the card of {name}")
        for value in searched.examples():
            try:
                check_method(name, point.scale, spec.preset, point.settings | {key: value})
            except UserError as error:
                raise UserError(f"the card of {name} lets tune try {key} = {value}, which cannot be: {error}") from None
    return tuning.model_copy(update={"folds": folds or tuning.folds, "trials": trials or tuning.trials})


def _development(dataset: Dataset, protocol: Protocol, split_file: Path | None) -> list[Case]:
    """The cases of the patients who train or validate and do not test."""
    cases = dataset.cases()
    check_cases(dataset, cases)
    split = split_of(dataset, cases, protocol, split_file)
    tested = {case.patient_id for case in cases if case.volume_id in split.test}
    used = {*split.train, *split.validation}
    return [case for case in cases if case.volume_id in used and case.patient_id not in tested]


def _header(search: _Search) -> dict[str, Any]:
    """What a folder of points is about: two commands with the same header go on with each other's points."""
    space = search.tuning.model_dump(mode="json")["space"]
    held = {key: value for key, value in search.point.settings.items() if key not in space}
    return {
        "schema_version": 1,
        "method": search.point.method,
        "held": held,
        "dataset": search.dataset.name,
        "dataset_settings": search.dataset.settings.model_dump(mode="json"),
        "fingerprint": search.data[0].fingerprint,
        "preparation": search.data[0].preparation,
        "scale": search.point.scale,
        "preset": search.spec.preset,
        "protocol": search.spec.protocol,
        "protocol_hash": get_protocol(search.spec.protocol).hash,
        "objective": _HOW,
        "space": space,
        "folds": len(search.splits),
        "fold_rules": [split.rule for split in search.splits],
        "split_hashes": [split.hash for split in search.splits],
        "patients": sum(search.data[0].patients.values()),
        "seed": search.seed,
    }


def _claim(search: _Search) -> None:
    """UserError where the folder holds another search."""
    path, header = search.spec.out / TUNING, _header(search)
    if search.spec.out.exists() and not search.spec.out.is_dir():
        raise UserError(f"--to {search.spec.out}: is a file, not a folder")
    if path.is_file():
        try:
            before = files.read_json(path)
        except ValueError:
            raise UserError(f"{path}: not readable as JSON; choose another --to") from None
        differs = [key for key in header if before.get(key) != header[key]]
        if differs:
            raise UserError(
                f"--to {search.spec.out}: holds a search with another {', '.join(differs)}; choose another folder"
            )
    elif search.spec.out.is_dir() and any(search.spec.out.iterdir()):
        raise UserError(f"--to {search.spec.out}: holds something else than a search; choose another folder")
    files.write_json(path, header)


def _distribution(optuna: ModuleType, searched: Searched) -> optuna.distributions.BaseDistribution:
    if searched.choices:
        return optuna.distributions.CategoricalDistribution(searched.choices)
    return optuna.distributions.FloatDistribution(searched.low, searched.high, log=searched.log)


def _there(out: Path, tuning: Tuning) -> int:
    """How many of the search's trials an earlier command finished."""
    return sum(
        bundle.record.status == "done"
        for number in range(tuning.trials)
        for fold in (out / "points" / f"{number:03d}").glob("fold*")
        for bundle in RunFolder(fold).bundles()
    )


def _try(search: _Search, number: int, values: dict[str, Any], listener: Listener) -> dict[str, Any]:
    """Run what is missing of a point, and say how it did."""
    trials = [_trial(search, number, fold, values) for fold in range(len(search.splits))]
    records: list[TrialRecord | None] = [_finished(trial, listener) for trial in trials]
    missing = [i for i, record in enumerate(records) if record is None]
    ran = run_trials([trials[i] for i in missing], Processes(search.spec.jobs), listener)
    for i, record in zip(missing, ran, strict=True):
        records[i] = record
    scores = [
        _score(trial.place.volumes) if record is not None and record.status == "done" else None
        for trial, record in zip(trials, records, strict=True)
    ]
    reasons = [record.reason for record in records if record is not None and record.status != "done"]
    reasons += [f"{OBJECTIVE} is {score}" for score in scores if score is not None and not math.isfinite(score)]
    return {
        "number": number,
        "values": values,
        "folds": [score if score is not None and math.isfinite(score) else None for score in scores],
        "score": None if reasons else _mean([score for score in scores if score is not None]),
        "reason": reasons[0] if reasons else "",
    }


def _trial(search: _Search, number: int, fold: int, values: dict[str, Any]) -> TrialSpec:
    point, spec = search.point, search.spec
    settings = check_method(point.method, point.scale, spec.preset, point.settings | values)
    return TrialSpec(
        out=spec.out / "points" / f"{number:03d}" / f"fold{fold + 1}",
        method=point.method,
        variant=f"{number:03d}-fold{fold + 1}",
        settings=settings.model_dump(mode="json"),
        dataset_settings=search.dataset.settings.model_dump(mode="json"),
        scale=point.scale,
        seed=search.seed,
        preset=spec.preset,
        protocol=spec.protocol,
        data=search.data[fold],
        split=asdict(search.splits[fold]),
        device=search.device,
        plugins=spec.plugins,
    )


def _finished(trial: TrialSpec, listener: Listener) -> TrialRecord | None:
    """The record of a trial that need not run again; what another history of the search left in its place is cleared away."""
    place = trial.place
    record = place.read_record()
    if record is not None and record.key != trial.key:
        listener.warning(f"{place.folder}: is of other values than this search asks for now, and runs again")
        shutil.rmtree(place.folder)
        return None
    return record if record is not None and record.status == "done" else None


def _score(volumes: Path) -> float:
    """The patient mean of the objective of the target in a trial's scores."""
    table = pd.read_csv(volumes)
    return float(table[table["role"] == "target"].groupby("patient_id")[OBJECTIVE].mean().mean())


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
