"""Results grouped into boards: what may be ranked together, and in it one row per method with its seeds and its repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mcsr_bench.results.bundle import Bundle, DataRecord, TrialRecord
from mcsr_bench.results.identity import row_key
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import shown_names
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files


@dataclass(frozen=True)
class Row:
    """A method with its settings: the seeds of one run, and bundles of other runs that differ in their seeds alone."""

    name: str
    """What tells it apart in its board: ``METHOD[@VARIANT]``, and digits where other code or settings have that name, too."""
    title: str
    """For people."""
    bundles: tuple[Bundle, ...]
    """By seed."""
    others: tuple[Bundle, ...]
    """Of later runs."""
    again: Mapping[int, Bundle]
    """By seed, a trial of another run that predicted with the same weights: the same trial, or one with the shipped weights."""
    run: RunFolder
    volumes: pd.DataFrame
    """The rows of `Results.volumes` of its bundles; ``method`` is `name`, ``variant`` is empty."""
    results: Results
    """Of its bundles alone."""

    @property
    def first(self) -> TrialRecord:
        """The record of its first seed."""
        return self.bundles[0].record

    @property
    def trains(self) -> bool:
        """Whether seeds are part of what it is."""
        return bool(self.first.card.get("trains", True))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of the run."""
        return tuple(bundle.record.seed for bundle in self.bundles)


@dataclass(frozen=True)
class Board:
    """Rows of one data set (and split), scale, preset, protocol, track and contrast."""

    name: str
    """Of its files, the same in each building."""
    contrast: str
    role: str
    """"target" or "auxiliary"."""
    rows: tuple[Row, ...]
    shares_patients: bool
    """Whether another board is of other patients of the same data: training patients of one may be tested in the other."""

    @property
    def record(self) -> TrialRecord:
        """One of its records: all say the same of the data and the rules."""
        return self.rows[0].first

    @property
    def data(self) -> DataRecord:
        """What its rows were computed on."""
        return self.record.data

    @property
    def title(self) -> str:
        """For people."""
        r = self.record
        return f"{r.shown_dataset}, {r.scale}x, {self.contrast}, preset {r.preset}, {r.protocol}, {r.data.track} track"

    @property
    def untrained(self) -> frozenset[str]:
        """The names of the rows without seeds."""
        return frozenset(row.name for row in self.rows if not row.trains)


def boards(results: Results) -> list[Board]:
    """All boards, in the order of data set, scale, preset and protocol. Rows are in the order of the methods' cards."""
    groups: dict[tuple[object, ...], list[Bundle]] = {}
    for bundle in results.bundles:
        groups.setdefault(_of_data(bundle.record), []).append(bundle)
    splits: dict[tuple[str, str], set[str]] = {}
    for bundle in results.bundles:
        data = bundle.record.data
        splits.setdefault((bundle.record.dataset_label, data.fingerprint), set()).add(data.split_hash)
    found: dict[str, list[tuple[str, str, str, list[Row], bool]]] = {}
    for key in sorted(groups, key=lambda one: tuple(map(str, one))):
        rows = _rows(results, groups[key])
        r = rows[0].first
        shares = len(splits[r.dataset_label, r.data.fingerprint]) > 1
        contrasts = pd.concat([row.volumes for row in rows])[["role", "contrast"]].drop_duplicates()
        for role, contrast in sorted(contrasts.itertuples(index=False), reverse=True):
            parts = (r.dataset_label, f"x{r.scale}", r.preset, r.protocol, r.data.track, contrast)
            name = files.file_name("-".join(parts).lower())
            found.setdefault(name, []).append((files.digest(list(map(str, key)), 8), role, contrast, rows, shares))
    out = []
    for name, same in found.items():
        for mark, role, contrast, rows, shares in same:
            own = [_part(row, role, contrast) for row in rows]
            kept = tuple(row for row in own if len(row.volumes))
            out.append(Board(name if len(same) == 1 else f"{name}-{mark}", contrast, role, kept, shares))
    return sorted(out, key=lambda b: (b.record.dataset_label, b.record.scale, b.record.preset, b.name))


def _of_data(record: TrialRecord) -> tuple[object, ...]:
    """What must be equal for two trials to stand in one board."""
    data = record.data
    rules = (record.preset, record.protocol, record.protocol_hash, data.track)
    same = (data.fingerprint, data.split_hash, files.digest(data.preparation), files.digest(data.revisions), data.code)
    return (record.dataset_label, record.scale, *rules, *same)


def _rows(results: Results, bundles: Sequence[Bundle]) -> list[Row]:
    trained = {mark for bundle in bundles if not bundle.record.shipped and (mark := weights(bundle))}
    shipped = [bundle for bundle in bundles if bundle.record.shipped in trained]
    apart = {bundle.folder for bundle in shipped}
    by_row: dict[str, list[Bundle]] = {}
    for bundle in bundles:
        if bundle.folder not in apart:
            by_row.setdefault(row_key(bundle.record), []).append(bundle)
    labels = [found[0].record.method_label for found in by_row.values()]
    titles = shown_names((b.record.method, b.record.variant, b.record.changes) for b in bundles)
    rows = []
    for key, found in by_row.items():
        folders = [folder for folder in results.folders if any(_in(b, folder) for b in found)]
        own = sorted((b for b in found if _in(b, folders[0])), key=lambda b: b.record.seed)
        others = tuple(b for folder in folders[1:] for b in found if _in(b, folder))
        again = {one.record.seed: two for one in own for two in (*others, *shipped) if _same_weights(one, two)}
        label = own[0].record.method_label
        mark = f" [{key[:8]}]" if labels.count(label) > 1 else ""
        ids = {id(bundle.record) for bundle in own}
        alone = results.of(lambda record, ids=ids: id(record) in ids)  # type: ignore[misc]
        volumes = alone.volumes.assign(method=label + mark, variant="")
        run = RunFolder(folders[0])
        rows.append(Row(label + mark, titles[label] + mark, tuple(own), others, again, run, volumes, alone))
    return sorted(rows, key=lambda row: (row.first.card.get("order", 100), row.name))


def weights(bundle: Bundle) -> str:
    """The hash of the weights, or "" for a method without any."""
    return bundle.record.files.get(bundle.weights.name, "")


def _same_weights(one: Bundle, other: Bundle) -> bool:
    if other.record.shipped:
        return other.record.shipped == weights(one)
    return (one.record.key, weights(one)) == (other.record.key, weights(other))


def _in(bundle: Bundle, run: Path) -> bool:
    return bundle.folder.is_relative_to(run)


def _part(row: Row, role: str, contrast: str) -> Row:
    table = row.volumes
    kept = table[(table["role"] == role) & (table["contrast"] == contrast)]
    return replace(row, volumes=kept)
