"""From lists and a folder to checked pairs: where the files are, what is wrong with them, what a reader should know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcsr_bench.data.raw.kspace_file import Volume, inspect, voxel_difference
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding

from .pairs import Pair, PairLists, shown

Coils = Literal["auto", "singlecoil", "multicoil"]

ACQUISITIONS = {"PD": "CORPD_FBK", "FS-PD": "CORPDFS_FBK"}
"""What fastMRI calls the two knee contrasts."""
_WHAT_TO_DO = (
    "point --data-root at the folder that holds singlecoil_train and singlecoil_val (or multicoil_...; of both kinds "
    "single-coil is used, unless --set fastmri.coils=multicoil), "
    "or give own lists by --set fastmri.train_pairs=FILE --set fastmri.test_pairs=FILE"
)


@dataclass(frozen=True)
class Row:
    """A pair whose files are there and in order."""

    pd: Volume
    fspd: Volume
    test: bool

    @property
    def slices(self) -> int:
        """Slices that both have: pairs go by slice index, as in the published code."""
        return min(self.pd.slices, self.fspd.slices)

    @property
    def mismatched(self) -> bool:
        """Whether the two files are of two patients."""
        return self.pd.patient_id != self.fspd.patient_id


def catalogue(root: Path, lists: PairLists, coils: Coils) -> tuple[list[Row], list[Finding], list[str]]:
    """Every pair of the lists that can be used, train rows first; findings; and all that is wrong.

    Wrong are files of own lists that are absent, broken files, pairs whose contrasts differ in shape after the crop. Raises
    UserError when one of the published lists has no complete pair.
    """
    folders, expected, findings = _folders(root, coils)
    where: dict[str, Path] = {}
    for name in lists.names():
        # A folder or a link to nowhere is a damaged file, not an absent one.
        candidates = (f / f"{name}.h5" for f in folders)
        path = next((p for p in candidates if p.is_symlink() or p.exists()), None)
        if path is not None:
            where[name] = path
    problems: list[str] = []
    absent = [name for name in lists.names() if name not in where]
    pairs = [(p, False) for p in lists.train] + [(p, True) for p in lists.test]
    if lists.published:
        findings += _partial(lists, where, folders)
    else:
        message = "pairs of own lists: neither trained nor tested on what the published tables are about"
        findings.append(Finding("info", "own-lists", str(root), message, marks=True))
    if absent and not lists.published:
        looked = ", ".join(str(f) for f in folders)
        problems.append(
            f"{len(absent)} of the files that train_pairs and test_pairs name are absent in {looked}: "
            + shown([f"{name}.h5" for name in absent])
        )
    volumes: dict[str, Volume] = {}
    present = [(p, test) for p, test in pairs if p.pd in where and p.fspd in where]
    for name in [name for p, _ in present for name in (p.pd, p.fspd)]:
        try:
            volumes[name] = inspect(where[name])
        except UserError as error:
            problems.append(str(error))
    problems += _mixed_coils(list(volumes.values()), expected)
    rows: list[Row] = []
    for pair, test in present:
        if pair.pd in volumes and pair.fspd in volumes:
            row = Row(volumes[pair.pd], volumes[pair.fspd], test)
            wrong = _pair_problems(pair, row)
            problems += wrong
            rows += [] if wrong else [row]
    return rows, findings + _findings(rows), problems


def _folders(root: Path, coils: Coils) -> tuple[list[Path], Literal["", "singlecoil", "multicoil"], list[Finding]]:
    """Where to look, in this order; which kind of file is expected there ("" = any, but one kind); findings."""
    there = {
        kind: [root / f"{kind}_{part}" for part in ("train", "val") if (root / f"{kind}_{part}").is_dir()]
        for kind in ("singlecoil", "multicoil")
    }
    if coils != "auto":
        return [*there[coils], root], coils, []
    if there["singlecoil"]:
        message = "single-coil and multi-coil folders are both there; single-coil is used (--set fastmri.coils=...)"
        both = [Finding("info", "coils", str(root), message)] if there["multicoil"] else []
        return [*there["singlecoil"], root], "singlecoil", both
    return [*there["multicoil"], root], "multicoil" if there["multicoil"] else "", []


def _partial(lists: PairLists, where: dict[str, Path], folders: list[Path]) -> list[Finding]:
    """Published lists of which only a part is on the disk: usable, but no longer the published set."""
    counts: list[str] = []
    complete = True
    for part, pairs in (("train", lists.train), ("val", lists.test)):
        n = sum(p.pd in where and p.fspd in where for p in pairs)
        if n == 0:
            looked = ", ".join(str(f) for f in folders)
            raise UserError(
                f"fastmri: none of the {len(pairs)} pairs of the published {part} list is in {looked}; {_WHAT_TO_DO}"
            )
        counts.append(f"{n} of {len(pairs)} {part} pairs")
        complete = complete and n == len(pairs)
    if complete:
        return []
    message = (
        f"only a part of the published lists is present: {' and '.join(counts)}; these are used, and results are marked"
    )
    return [Finding("warning", "absent-pairs", str(folders[-1]), message, marks=True)]


def _mixed_coils(volumes: list[Volume], expected: str) -> list[str]:
    """Problems with files that are single-coil among multi-coil ones, or the other way round."""
    kinds: dict[str, list[str]] = {"singlecoil": [], "multicoil": []}
    for v in volumes:
        kinds["multicoil" if v.coils else "singlecoil"].append(v.path.name)
    if expected:
        wrong = kinds["multicoil" if expected == "singlecoil" else "singlecoil"]
        rank = {"singlecoil": "(slices, H, W)", "multicoil": "(slices, coils, H, W)"}[expected]
        return [f"'kspace' must be {rank} in {expected} files, but is not in {shown(wrong)}"] if wrong else []
    if kinds["singlecoil"] and kinds["multicoil"]:
        return [f"{kinds['singlecoil'][0]} is single-coil and {kinds['multicoil'][0]} is multi-coil; they do not mix"]
    return []


def _pair_problems(pair: Pair, row: Row) -> list[str]:
    out: list[str] = []
    for contrast, volume in (("PD", row.pd), ("FS-PD", row.fspd)):
        other = "FS-PD" if contrast == "PD" else "PD"
        if volume.acquisition == ACQUISITIONS[other]:
            out.append(
                f"{volume.path.name} is listed as {contrast}, but its acquisition is {volume.acquisition} ({other})"
            )
    if row.pd.shape != row.fspd.shape:
        (a, b), (c, d) = row.pd.shape, row.fspd.shape
        out.append(f"the pair {pair.pd}.h5, {pair.fspd}.h5 differs in shape after the crop: {a} x {b} and {c} x {d}")
    return out


def _findings(rows: list[Row]) -> list[Finding]:
    volumes = [v for r in rows for v in (r.pd, r.fspd)]
    out: list[Finding] = []
    for row in rows:
        if row.pd.slices != row.fspd.slices:
            message = (
                f"{row.fspd.path.name} has {row.fspd.slices} slices and {row.pd.path.name} {row.pd.slices}: "
                f"the first {row.slices} are used"
            )
            out.append(Finding("info", "slice-count", str(row.fspd.path), message))
    other_voxels = [(row, difference) for row in rows if (difference := voxel_difference(row.fspd, row.pd))]
    if other_voxels:
        row, difference = other_voxels[0]
        message = (
            f"{len(other_voxels)} of {len(rows)} pairs do not have the same voxels and are kept as listed, e.g. "
            f"{row.fspd.path.name} and {row.pd.path.name}: {difference}"
        )
        out.append(Finding("warning", "geometry", str(row.fspd.path), message, marks=True))
    unknown = [(v, c) for r in rows for v, c in ((r.pd, "PD"), (r.fspd, "FS-PD")) if v.acquisition != ACQUISITIONS[c]]
    if unknown:
        v, contrast = unknown[0]
        message = (
            f"{len(unknown)} of {len(volumes)} files do not name their contrast as fastMRI does, e.g. {v.path.name}, "
            f"listed as {contrast}: acquisition {v.acquisition!r}, not {ACQUISITIONS[contrast]!r}; the list is believed"
        )
        out.append(Finding("warning", "acquisition", str(v.path), message, marks=True))
    padded = [v for v in volumes if v.header.acquired_fraction < 1]
    if padded:
        worst = min(padded, key=lambda v: v.header.acquired_fraction)
        message = (
            f"{len(padded)} of {len(volumes)} files have phase-encode columns that were not acquired; least in "
            f"{worst.path.name}: {worst.header.acquired_columns} of {worst.header.encoded[1]} acquired; they stay zero"
        )
        out.append(Finding("info", "zero-columns", str(worst.path), message))
    other = [v for v in volumes if v.shape != v.header.recon]
    if other:
        v = other[0]
        message = (
            f"{len(other)} of {len(volumes)} files are cropped to another size than the header's, e.g. {v.path.name}: "
            f"{v.shape[0]} x {v.shape[1]}, header {v.header.recon[0]} x {v.header.recon[1]}"
        )
        out.append(Finding("info", "crop", str(v.path), message))
    if volumes and volumes[0].coils:
        message = (
            "multi-coil data, coils combined with their phase kept: not the single-coil images of the published tables"
        )
        out.append(Finding("warning", "coils", str(volumes[0].path.parent), message, marks=True))
    return out
