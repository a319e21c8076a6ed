"""The data that a bundle was scored on, made again: generated data from their settings, real data from the files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.data.manifest import PARTS, Manifest
from mcsr_bench.data.prepare import listed_cases, prepare_splits
from mcsr_bench.data.spec import Preparation
from mcsr_bench.data.store import open_store, store_root
from mcsr_bench.engines.base import Engine
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import DataRecord, TrialRecord
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener


class NoTargetsError(Exception):
    """Why there are no targets here to score against, as a clause."""


@dataclass(frozen=True)
class Targets:
    """Prepared data in the cache."""

    store: str
    """Their key."""
    same: bool
    """Whether they are, to the byte, what the bundle was scored on."""
    test: tuple[str, ...]
    """The volume_ids of the test part."""


def targets(
    run: Path,
    record: TrialRecord,
    data_root: Path | None,
    *,
    engine: Engine,
    listener: Listener,
    plugins: Sequence[Path],
) -> Targets:
    """The targets of a trial, from the cache or made now.

    Raises NoTargetsError for real data without ``data_root`` and a data set that is not known here, and UserError where the data
    are not those that the record names: another protocol, fingerprint, split or preparation, or prepared data that are damaged.
    """
    data, protocol = record.data, get_protocol(record.protocol)
    if protocol.hash != record.protocol_hash:
        raise UserError(
            f"protocol {protocol.id} is {protocol.hash} in this version, and {record.protocol_hash} in the record: only the "
            f"version that computed it ({record.versions.get('mcsr-bench', 'not said')}) can score it again"
        )
    _check_cached(data.store)
    if record.dataset not in datasets().plugins():
        raise NoTargetsError(
            f"data set '{record.dataset}' is not known here; --plugins PATH gives the folder of its plugin"
        )
    card = datasets().card(record.dataset)
    if card.real and data_root is None:
        raise NoTargetsError("the data are real: --data-root DIR gives their files")
    dataset = load_dataset(record.dataset, data_root if card.real else None, **record.dataset_settings)
    _check_data(data, "fingerprint", dataset.fingerprint())
    _check_data(data, "code", datasets().code(record.dataset))
    cases = listed_cases(dataset)
    split = _split(run, record, dataset, cases)
    chosen = Preparation.of(data.preparation.get("register"), data.preparation.get("store_dtype"))
    [prepared] = prepare_splits(
        dataset,
        cases,
        [split],
        protocol,
        record.scale,
        preparation=chosen,
        engine=engine,
        listener=listener,
        plugins=plugins,
    )
    for name in _STATED:
        _check_data(data, name, getattr(prepared.data, name))
    same = bool(data.store_hash) and data.store_hash == prepared.data.store_hash
    return Targets(prepared.store.key, same, split.test)


_STATED = (
    *(
        "name",
        "real",
        "track",
        "target",
        "auxiliary",
        "reported_as",
        "split_rule",
        "patient_disjoint",
        "patients",
        "slices",
    ),
    *("hr_shapes", "revisions", "preparation"),
)
"""What a record says of data, and what is compared after the fingerprint and the split."""


def _check_data(data: DataRecord, name: str, found: object) -> None:
    said = getattr(data, name)
    if said != found:
        raise UserError(f"{name.replace('_', ' ')} of the data: the record says {said}, and the data here have {found}")


def _check_cached(key: str) -> None:
    """UserError, naming the file, where the prepared data that a trial was scored on are in the cache and damaged."""
    if all((store_root() / part).is_dir() for part in (key, key.rpartition("-")[0])):
        store = open_store(key)
        store.compare(store.volumes)


def _split(run: Path, record: TrialRecord, dataset: Dataset, cases: Sequence[Case]) -> Split:
    """The split of a trial: the data set's own, or the one beside the results. UserError where neither is it."""
    own = dataset.split(cases, get_protocol(record.protocol))
    path = RunFolder(run).split(record.dataset_label)
    found = [own] if not path.is_file() else [own, _written(path, cases)]
    for split in found:
        if split.hash == record.data.split_hash:
            split.check(cases)
            return split
    raise UserError(
        f"split of the data: the record says {record.data.split_hash}, and "
        + (f"{path} gives {found[1].hash}" if len(found) > 1 else f"the data set's own is {own.hash}")
    )


def _written(path: Path, cases: Sequence[Case]) -> Split:
    """The split of a manifest, as it was made."""
    try:
        read = Manifest.model_validate(files.read_json(path))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable split: {str(error).splitlines()[0]}") from None
    kept = [case for case in cases if case.volume_id not in read.left_out]
    volumes = {part: tuple(c.volume_id for c in kept if c.patient_id in getattr(read, part)) for part in PARTS}
    return Split(**volumes, rule=read.rule, patient_disjoint=read.patient_disjoint)
