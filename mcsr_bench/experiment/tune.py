"""Settings chosen by cross-validation on the development patients; the test patients are neither read nor scored.

The search space and the budget are in the method's card. Every point of the space is tried in all folds by normal trials, in
``DIR/points/NNN/foldK``; its score is the mean over folds of the patient mean of the objective on the held-out fold. Points are
asked one after the other of a seeded sampler that is given the scores, so that the same command again asks for the same points and
takes what is there. ``tuned.json``, written last, holds all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from mcsr_bench.data.manifest import folds as folds_of
from mcsr_bench.data.manifest import split_of
from mcsr_bench.data.prepare import Prepared, listed_cases, prepare_splits, tell
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.engines.base import Engine
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.experiment.grid import Point, point_of, smoke_standards
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.experiment.suites import Row
from mcsr_bench.experiment.trials import finished, mend, run_trials, trial_spec
from mcsr_bench.plugin.cards import Searched, Tuning
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import check_method, check_seed
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.results.bundle import Bundle, DataRecord, TrialRecord
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files, frames
from mcsr_bench.system.computing import Computing
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.system.progress import Listener
from mcsr_bench.system.provenance import versions

if TYPE_CHECKING:
    import optuna

OBJECTIVE = "psnr@volume-max"
TUNING, TUNED = "tuning.json", "tuned.json"
_HOW = f"mean over folds of the patient mean of {OBJECTIVE} of the target on the held-out fold; higher is better"


class SearchSpec(BaseModel):
    """A search as asked: settings of one method on one dataset at one scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSpec
    """One dataset, one scale."""
    method: str
    settings: dict[str, Any] = {}
    """Of the method, what differs from the preset: these are held, and none of them is searched."""
    preset: str
    seed: int = 0
    """Of the folds, the search and the networks."""
    folds: int | None = None
    """None: as in the card."""
    trials: int | None = None
    out: Path
    device: str = "auto"
    jobs: int = 0


@dataclass(frozen=True)
class _Search:
    """What is searched, and in which folds."""

    spec: SearchSpec
    point: Point
    """The method with the settings that are not searched."""
    tuning: Tuning
    """With the folds and trials of this search."""
    folds: tuple[Prepared, ...]
    device: str
    engine: Engine

    @property
    def data(self) -> DataRecord:
        """The data of the first fold: the folds differ in their splits alone."""
        return self.folds[0].data


def tune(spec: SearchSpec, listener: Listener | None = None) -> dict[str, Any]:
    """Search the settings of a method, and return what ``OUT/tuned.json`` then holds.

    A point with a failed trial has no score; where none has one, ``best`` is None. Raises UserError for anything asked that cannot
    be had.
    """
    listener = listener or Listener()
    optuna = _optuna()
    search = _search(spec, listener)
    _claim(search)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=spec.seed))
    space = {name: _distribution(optuna, searched) for name, searched in search.tuning.space.items()}
    listener.trials(search.tuning.trials * len(search.folds), _there(spec.out, search.tuning))
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
        "marks": search.data.marks,
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


def _search(spec: SearchSpec, listener: Listener) -> _Search:
    """Everything checked, and the development patients' data prepared."""
    for option, several in (("--dataset", spec.data.names), ("--scale", spec.data.scales)):
        if len(several) != 1:
            raise UserError(f"{option} {','.join(map(str, several))}: tune takes one")
    check_seed("--seed", spec.seed)
    spec.data.add_plugins()
    spec.data.check()
    [scale] = spec.data.scales
    point = point_of(Row(method=spec.method), scale, spec.preset, spec.settings)
    tuning = _tuning(spec, point)
    device, engine = chosen_device(spec.device), Processes(spec.jobs)
    small = smoke_standards(spec.data, [spec.method], spec.preset)
    [dataset] = spec.data.model_copy(update={"standards": small}).load()
    dataset.listener = listener
    protocol = get_protocol(spec.data.protocol)
    cases = _development(dataset, protocol, spec.data.split)
    prepared = prepare_splits(
        dataset,
        cases,
        folds_of(cases, tuning.folds, spec.seed),
        protocol,
        scale,
        preparation=spec.data.preparation,
        engine=engine,
        listener=listener,
        plugins=spec.data.plugins,
    )
    tell(prepared[0].findings, listener)
    return _Search(spec, point, tuning, tuple(prepared), device, engine)


def _tuning(spec: SearchSpec, point: Point) -> Tuning:
    """The card's search with the folds and trials asked for. UserError where something in it cannot be."""
    name = spec.method
    tuning = methods().card(name).tuning
    if tuning is None:
        raise UserError(f"--method {name}: its card has no [tuning], so there is nothing to tune")
    for option, asked, least in (("--folds", spec.folds, 3), ("--trials", spec.trials, 1)):
        if asked is not None and asked < least:
            raise UserError(f"{option} {asked}: {least} or more are needed")
    for key, searched in tuning.space.items():
        if key in spec.settings:
            raise UserError(f"--set {name}.{key}: is what tune searches; the search space is in the card of {name}")
        for value in searched.examples():
            try:
                check_method(name, point.scale, spec.preset, point.settings | {key: value})
            except UserError as error:
                raise UserError(
                    f"the card of {name} lets tune try {key} = {value}, which is not allowed: {error}"
                ) from None
    return tuning.model_copy(update={"folds": spec.folds or tuning.folds, "trials": spec.trials or tuning.trials})


def _development(dataset: Dataset, protocol: Protocol, split_file: Path | None) -> list[Case]:
    """The cases of the patients who train or validate and do not test."""
    cases = listed_cases(dataset)
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
        "dataset": search.data.name,
        "dataset_settings": search.folds[0].dataset.settings.model_dump(mode="json"),
        "fingerprint": search.data.fingerprint,
        "preparation": search.data.preparation,
        "scale": search.point.scale,
        "preset": search.spec.preset,
        "protocol": search.spec.data.protocol,
        "protocol_hash": get_protocol(search.spec.data.protocol).hash,
        "objective": _HOW,
        "space": space,
        "folds": len(search.folds),
        "fold_rules": [fold.split.rule for fold in search.folds],
        "split_hashes": [fold.split.hash for fold in search.folds],
        "patients": sum(search.data.patients.values()),
        "seed": search.spec.seed,
    }


def _claim(search: _Search) -> None:
    """UserError where the folder holds another search."""
    path, header = search.spec.out / TUNING, _header(search)
    if search.spec.out.exists() and not search.spec.out.is_dir():
        raise UserError(f"--to {search.spec.out}: is a file, not a folder")
    if path.is_file():
        try:
            before = dict(files.read_json(path))
        except (ValueError, TypeError):
            raise UserError(f"{path}: not readable as JSON; choose another --to") from None
        differs = [key for key in header if before.get(key) != header[key]]
        if differs:
            raise UserError(
                f"--to {search.spec.out}: holds a search with another {', '.join(differs)}; choose another folder"
            )
    elif search.spec.out.is_dir() and any(search.spec.out.iterdir()):
        raise UserError(f"--to {search.spec.out}: is not the folder of a search; choose another folder")
    files.write_json(path, header)


def _distribution(optuna: ModuleType, searched: Searched) -> optuna.distributions.BaseDistribution:
    if searched.choices:
        return optuna.distributions.CategoricalDistribution(searched.choices)
    return optuna.distributions.FloatDistribution(searched.low, searched.high, log=searched.log)


def _there(out: Path, tuning: Tuning) -> int:
    """How many of the search's trials an earlier command finished."""
    return sum(
        (record := place.sound_record()) is not None and record.status == "done"
        for number in range(tuning.trials)
        for fold in (out / "points" / f"{number:03d}").glob("fold*")
        for place in RunFolder(fold).trials()
    )


def _try(search: _Search, number: int, values: dict[str, Any], listener: Listener) -> dict[str, Any]:
    """Run the missing trials of a point, and return its row of the search."""
    trials = [_trial(search, number, fold, values) for fold in range(len(search.folds))]
    records = [_finished(trial, listener) for trial in trials]
    missing = [i for i, record in enumerate(records) if record is None]
    ran = run_trials([trials[i] for i in missing], search.engine, listener)
    for i, record in zip(missing, ran, strict=True):
        records[i] = record
    scores = [
        _score(trial.place.volumes) if record is not None and record.status == "done" else None
        for trial, record in zip(trials, records, strict=True)
    ]
    reasons = [record.reason for record in records if record is not None and record.status != "done"]
    reasons += [f"{OBJECTIVE} is not finite" for score in scores if score is not None and not math.isfinite(score)]
    return {
        "number": number,
        "values": values,
        "folds": [score if score is not None and math.isfinite(score) else None for score in scores],
        "score": None if reasons else _mean([score for score in scores if score is not None]),
        "reason": reasons[0] if reasons else "",
    }


def _trial(search: _Search, number: int, fold: int, values: dict[str, Any]) -> TrialSpec:
    point, spec = search.point, search.spec
    settings = check_method(point.method, point.scale, spec.preset, point.settings | values).model_dump(mode="json")
    return trial_spec(
        replace(point, settings=settings, variant=f"{number:03d}-fold{fold + 1}"),
        search.folds[fold],
        spec.data,
        out=spec.out / "points" / f"{number:03d}" / f"fold{fold + 1}",
        seed=spec.seed,
        preset=spec.preset,
        device=search.device,
        computing=Computing().on(search.device),
    )


def _finished(trial: TrialSpec, listener: Listener) -> TrialRecord | None:
    """The record of a trial that need not run again; what another history of the search left in its place is cleared away."""
    record = finished(trial, listener)
    if record is not None:
        try:
            Bundle(trial.place.folder, record).checked(trial.place.volumes)
        except DamagedFileError as error:
            mend(trial.place, error, listener)
            return None
    return record


def _score(volumes: Path) -> float:
    """The patient mean of the objective of the target in a trial's scores."""
    table = frames.read_csv(volumes, ("patient_id", "volume_id", "contrast"))
    target = table[table["role"] == "target"]
    if target[OBJECTIVE].isna().any():  # a score that is missing must not vanish from an average
        return math.nan
    return float(target.groupby("patient_id")[OBJECTIVE].mean().mean())


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
