"""Datasets made ready for trials: validated, split, prepared on disk, with what tables state about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mcsr_bench.data import registration
from mcsr_bench.data.findings import in_short, located, refuse, sentence
from mcsr_bench.data.inspection import findings, magnitudes_alone
from mcsr_bench.data.manifest import Manifest, folds, manifest, split_of, write_manifest
from mcsr_bench.data.spec import DataSpec, Preparation
from mcsr_bench.data.store import MAGNITUDES, Store, build_store
from mcsr_bench.engines.base import Engine
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.blame import blamed
from mcsr_bench.plugin.case import Case, Finding
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.results.bundle import DataRecord
from mcsr_bench.results.naming import label, variant_of
from mcsr_bench.system import frames
from mcsr_bench.system.progress import Listener


@dataclass(frozen=True, repr=False)
class Prepared:
    """A dataset at a scale, ready for trials."""

    dataset: Dataset
    store: Store
    split: Split
    manifest: Manifest
    """The split by patients."""
    data: DataRecord
    findings: tuple[Finding, ...]
    """What was found while it was prepared."""
    changes: dict[str, Any] = field(default_factory=dict)
    """The dataset's settings that make it a variant, see `DataSpec.changes`."""

    @property
    def variant(self) -> str:
        """Of the dataset's settings; "" where they are the usual ones."""
        return variant_of(self.changes)

    @property
    def label(self) -> str:
        """``DATASET[@VARIANT]``, as in folders."""
        return label(self.dataset.name, self.variant)

    def __repr__(self) -> str:
        patients = ", ".join(f"{number} {part}" for part, number in self.data.patients.items())
        found = f", {len(self.findings)} findings" if self.findings else ""
        return f"<Prepared {self.label} {self.store.scale}x: patients {patients}{found}; {self.store.key}>"


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
    cases = listed_cases(dataset)
    split = split_of(dataset, cases, protocol, split_file)
    out = [
        prepared
        for scale in scales
        for prepared in prepare_splits(
            dataset,
            cases,
            [split],
            protocol,
            scale,
            preparation=preparation,
            engine=engine,
            listener=listener,
            plugins=plugins,
        )
    ]
    tell(list(dict.fromkeys(finding for prepared in out for finding in prepared.findings)), listener)
    return out


def prepare_splits(
    dataset: Dataset,
    cases: Sequence[Case],
    splits: Sequence[Split],
    protocol: Protocol,
    scale: int,
    *,
    preparation: Preparation | None = None,
    engine: Engine | None = None,
    listener: Listener | None = None,
    plugins: Sequence[Path] = (),
) -> list[Prepared]:
    """One store for all cases that the splits use, and a `Prepared` per split. UserError as `prepare`."""
    chosen = preparation or Preparation()
    used = {v for split in splits for v in (*split.train, *split.validation, *split.test)}
    store = build_store(
        dataset,
        [case for case in cases if case.volume_id in used],
        protocol,
        scale,
        preparation=chosen,
        engine=engine,
        listener=listener,
        plugins=plugins,
    )
    seen = findings(store.facts, [scale])
    refuse(seen)
    found = tuple(dict.fromkeys((*dataset.findings, *store.findings, *seen)))
    return [
        Prepared(
            dataset,
            store,
            split,
            manifest(dataset, split, cases),
            data_record(dataset, store, split, chosen, seen),
            found,
        )
        for split in splits
    ]


def tell(found: Sequence[Finding], listener: Listener) -> None:
    """Warn of findings, many in few sentences."""
    for finding in in_short(found):
        if finding.severity != "info":
            listener.warning(located(finding))


def prepare_all(spec: DataSpec, engine: Engine | None = None, listener: Listener | None = None) -> list[Prepared]:
    """Validate and prepare the datasets asked for, each at its scales. UserError for anything that cannot be had."""
    out: list[Prepared] = []
    for dataset in spec.load():
        with blamed(datasets().folder(dataset.name)):
            ready = prepare(
                dataset,
                get_protocol(spec.protocol),
                spec.scales,
                split_file=spec.split,
                preparation=spec.preparation,
                engine=engine,
                listener=listener,
                plugins=spec.plugins,
            )
        out += [replace(prepared, changes=spec.changes(dataset)) for prepared in ready]
    return out


def write_folds(spec: DataSpec, k: int, to: Path, seed: int = 0) -> list[Path]:
    """Manifests ``TO/fold1.json`` and on, for ``--split``: a k-fold cross-validation by patient of the one dataset asked for.

    Every patient is tested in exactly one of them. UserError for several datasets, a k that the patients do not allow, and a folder
    that holds something else.
    """
    if len(spec.names) != 1:
        raise UserError(f"--folds {k}: is for one dataset, and there are {len(spec.names)}")
    if spec.split is not None:
        raise UserError(f"--split {spec.split}: --folds {k} makes splits of its own")
    [dataset] = spec.load()
    cases = listed_cases(dataset)
    splits = folds(cases, k, seed)
    paths = [to / f"fold{i}.json" for i in range(1, k + 1)]
    if to.exists() and (not to.is_dir() or set(to.iterdir()) - set(paths)):
        raise UserError(f"--to {to}: is not a folder of {k} folds; choose another folder")
    for path, split in zip(paths, splits, strict=True):
        split.check(cases)
        write_manifest(path, manifest(dataset, split, cases))
    return paths


def listed_cases(dataset: Dataset) -> list[Case]:
    """The cases of a dataset, checked as by `check_cases`."""
    cases = dataset.cases()
    check_cases(dataset, cases)
    return cases


def check_cases(dataset: Dataset, cases: Sequence[Case]) -> None:
    """UserError without cases, and for a case name that occurs twice or that files cannot have."""
    if not cases:
        raise UserError(f"dataset '{dataset.name}' holds no cases")
    for volume_id, count in Counter(case.volume_id for case in cases).items():
        if count > 1:
            raise UserError(f"dataset '{dataset.name}' lists the case {volume_id} twice")
        if not volume_id or set(volume_id) - _NAME_CHARACTERS or volume_id.startswith("."):
            raise UserError(
                f"dataset '{dataset.name}': the case name {volume_id!r} has characters that file names should not have"
            )


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def data_record(
    dataset: Dataset, store: Store, split: Split, preparation: Preparation | None = None, seen: Sequence[Finding] = ()
) -> DataRecord:
    """What tables state about the data of trials on this store and split; ``seen``: what the inspection found."""
    card = datasets().card(dataset.name)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    volumes = {part: [store.volumes[v] for v in ids] for part, ids in parts.items()}
    marks = [f.message for f in (*dataset.findings, *store.findings) if f.marks]
    marks += [sentence(f) for f in in_short(seen) if f.marks]
    if not split.patient_disjoint:
        marks.append(f"not patient-disjoint: {split.rule}")
    target, auxiliary = dataset.contrasts
    moved = magnitudes_alone(store.facts)
    return DataRecord(
        name=dataset.name,
        title=card.title,
        real=card.real,
        track="magnitude" if moved else dataset.track,
        target=target,
        auxiliary=auxiliary,
        # The card's first contrast is the one whose numbers were published.
        reported_as=card.reported_as if target == card.contrasts[0] else "",
        fingerprint=dataset.fingerprint(),
        code=datasets().code(dataset.name),
        split_hash=split.hash,
        split_rule=split.rule,
        patient_disjoint=split.patient_disjoint,
        patients={part: len({v.patient_id for v in vs}) for part, vs in volumes.items()},
        slices={part: sum(len(v.slice_index) for v in vs) for part, vs in volumes.items()},
        hr_shapes=sorted({v.shape for vs in volumes.values() for v in vs}),
        store=store.key,
        store_hash=store.hash,
        marks=list(dict.fromkeys(marks)),
        revisions={
            "dataset": type(dataset).revision,
            **({"registration": registration.REVISION} if store.registrations else {}),
            **({"magnitudes": MAGNITUDES} if moved else {}),
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
        frames.write_csv(path, pd.DataFrame(rows))
