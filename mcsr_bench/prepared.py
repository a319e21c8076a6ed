"""Floor 4: datasets made ready for trials: validated, split, prepared on disk, and what is to be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mcsr_bench import files, registration
from mcsr_bench.dataset import Case, Dataset, Finding, Split
from mcsr_bench.engines.base import Engine
from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.findings import in_short, located, refuse, sentence
from mcsr_bench.grid import ExperimentSpec
from mcsr_bench.inspection import findings
from mcsr_bench.loading import load_dataset
from mcsr_bench.preparing import Preparation
from mcsr_bench.progress import Listener
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.registry import add_plugins, datasets
from mcsr_bench.results.bundle import DataRecord
from mcsr_bench.splits import Manifest, folds, manifest, split_of, write_manifest
from mcsr_bench.store import Store, build_store


@dataclass(frozen=True)
class Prepared:
    """A dataset at a scale, ready for trials."""

    dataset: Dataset
    store: Store
    split: Split
    manifest: Manifest
    """The split by patients."""
    data: DataRecord


def prepare(
    dataset: Dataset,
    protocol: Protocol,
    scales: Sequence[int],
    *,
    split_file: Path | None = None,
    preparation: Preparation | None = None,
    engine: Engine | None = None,
    listener: Listener | None = None,
    plugins: Sequence[Path] = (),
) -> list[Prepared]:
    """Validate a dataset, split it (or take the split of a file) and build its stores: one `Prepared` per scale.

    Raises UserError for anything wrong with the data, images whose k-space is too empty for a scale among it.
    """
    listener = listener or Listener()
    dataset.listener = listener
    preparation = preparation or Preparation()
    cases = dataset.cases()
    check_cases(dataset, cases)
    split = split_of(dataset, cases, protocol, split_file)
    made = manifest(dataset, split, cases)
    used = {*split.train, *split.validation, *split.test}
    cases = [case for case in cases if case.volume_id in used]
    out = []
    told = list(dataset.findings)
    for scale in scales:
        store = build_store(
            dataset,
            cases,
            protocol,
            scale,
            preparation=preparation,
            engine=engine,
            listener=listener,
            plugins=plugins,
        )
        seen = findings(store.facts, [scale])
        refuse(seen)
        record = data_record(dataset, store, split, preparation, seen)
        out.append(Prepared(dataset, store, split, made, record))
        told += [f for f in (*store.findings, *seen) if f not in told]
    tell(told, listener)
    return out


def tell(found: Sequence[Finding], listener: Listener) -> None:
    """Warn of findings, many in few sentences."""
    for finding in in_short(found):
        if finding.severity != "info":
            listener.warning(located(finding))


def prepare_all(spec: ExperimentSpec, engine: Engine, listener: Listener | None = None) -> list[Prepared]:
    """Validate and prepare the datasets of a spec at its scales, without a method in sight."""
    return [
        prepared
        for dataset in asked_datasets(spec)
        for prepared in prepare(
            dataset,
            get_protocol(spec.protocol),
            spec.scales,
            split_file=spec.split,
            preparation=spec.preparation,
            engine=engine,
            listener=listener,
            plugins=spec.plugins,
        )
    ]


def write_folds(spec: ExperimentSpec, k: int, to: Path) -> list[Path]:
    """Manifests ``TO/fold1.json`` and on, for ``--split``: a k-fold cross-validation by patient of the one dataset of a spec.

    Every patient is tested in exactly one of them. The seed is the spec's first. UserError for several datasets, a k that the
    patients do not allow, and a folder that holds something else.
    """
    if len(spec.datasets) != 1:
        raise UserError(f"--folds {k}: is for one dataset, and there are {len(spec.datasets)}")
    if spec.split is not None:
        raise UserError(f"--split {spec.split}: --folds {k} makes splits of its own")
    [dataset] = asked_datasets(spec)
    cases = dataset.cases()
    check_cases(dataset, cases)
    splits = folds(cases, k, spec.seeds[0])
    paths = [to / f"fold{i}.json" for i in range(1, k + 1)]
    if to.exists() and (not to.is_dir() or set(to.iterdir()) - set(paths)):
        raise UserError(f"--to {to}: holds something else than {k} folds; choose another folder")
    for path, split in zip(paths, splits, strict=True):
        split.check(cases)
        write_manifest(path, manifest(dataset, split, cases))
    return paths


def asked_datasets(spec: ExperimentSpec) -> list[Dataset]:
    """The datasets of a spec. UserError for a plugin, name, setting or scale that cannot be had."""
    for path in spec.plugins:
        add_plugins(path)
    protocol = get_protocol(spec.protocol)
    for scale in spec.scales:
        protocol.check_scale(scale)
    for name in spec.settings:
        if name not in spec.datasets:
            raise unknown_name("dataset of this run", name, spec.datasets)
    return [load_dataset(name, spec.data_root, **spec.settings.get(name, {})) for name in spec.datasets]


def check_cases(dataset: Dataset, cases: Sequence[Case]) -> None:
    """UserError where there are no cases, or names that are double or no good for files."""
    if not cases:
        raise UserError(f"dataset '{dataset.name}' holds no cases")
    for volume_id, count in Counter(case.volume_id for case in cases).items():
        if count > 1:
            raise UserError(f"dataset '{dataset.name}' lists the volume {volume_id} twice")
        if not volume_id or set(volume_id) - _NAME_CHARACTERS or volume_id.startswith("."):
            raise UserError(
                f"dataset '{dataset.name}': the volume name {volume_id!r} has characters that file names should not have"
            )


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def data_record(
    dataset: Dataset, store: Store, split: Split, preparation: Preparation | None = None, seen: Sequence[Finding] = ()
) -> DataRecord:
    """What tables say of the data of trials on this store and split; ``seen``: what the inspection found."""
    card = datasets().card(dataset.name)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    volumes = {part: [store.volumes[v] for v in ids] for part, ids in parts.items()}
    marks = [f.message for f in (*dataset.findings, *store.findings) if f.marks]
    marks += [sentence(f) for f in in_short(seen) if f.marks]
    if not split.patient_disjoint:
        marks.append(f"not patient-disjoint: {split.rule}")
    target, auxiliary = dataset.contrasts
    return DataRecord(
        name=dataset.name,
        title=card.title,
        real=card.real,
        track="magnitude" if any(f.code == "fake-complex" for f in seen) else dataset.track,
        target=target,
        auxiliary=auxiliary,
        # The card's first contrast is the one whose numbers were published.
        reported_as=card.reported_as if target == card.contrasts[0] else "",
        fingerprint=dataset.fingerprint(),
        split_hash=split.hash,
        split_rule=split.rule,
        patient_disjoint=split.patient_disjoint,
        patients={part: len({v.patient_id for v in vs}) for part, vs in volumes.items()},
        slices={part: sum(len(v.slice_index) for v in vs) for part, vs in volumes.items()},
        hr_shapes=sorted({v.shape for vs in volumes.values() for v in vs}),
        store=store.key,
        marks=list(dict.fromkeys(marks)),
        revisions={
            "dataset": type(dataset).revision,
            **({"registration": registration.REVISION} if store.registrations else {}),
        },
        preparation=(preparation or Preparation()).changes,
    )


def write_registrations(path: Path, store: Store) -> None:
    """A CSV with what the registration did to each volume; no file where nothing was registered."""
    rows = []
    for volume_id, record in store.registrations.items():
        right, front, up = record["translation_mm"]
        down, along = record["shift_px"]
        parts = {
            "translation_right_mm": right,
            "translation_front_mm": front,
            "translation_up_mm": up,
            "shift_rows_px": down,
            "shift_columns_px": along,
        }
        whole = {k: v for k, v in record.items() if k not in ("translation_mm", "shift_px")}
        rows.append({"volume_id": volume_id, "patient_id": store.volumes[volume_id].patient_id, **whole, **parts})
    if rows:
        files.write_table(path, pd.DataFrame(rows))
