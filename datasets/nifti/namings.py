"""Names that public data sets and BIDS give their files: whose volume it is, and of which contrast, without a pattern."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding

from .patterns import Who, below

_SUFFIX = re.compile(r"\.nii(?:\.gz)?$")
_MAX_TABLE = 1 << 24
"""Bytes of a ``participants.tsv`` that are read; one of ten thousand people has a megabyte."""


@dataclass(frozen=True)
class Naming:
    """How files are named. ``name`` matches a file's name without its suffix, {patient}, perhaps {visit}, and {contrast} in it.

    A patient is all of the name that tells people apart: the number alone is given again by every project.
    """

    title: str
    name: re.Pattern[str]
    words: Mapping[str, str]
    """How it writes the contrasts."""
    local: bool = False
    """Whether patients are numbered by every data set anew: the same name below two folders is two people."""

    def word(self, contrast: str) -> str | None:
        """What stands for a contrast in names, given as in the settings or as it stands there; letter case does not count."""
        known = {key.lower(): word for name, word in self.words.items() for key in (word, name)}
        return known.get(contrast.lower())


BIDS = Naming(
    "BIDS",
    re.compile(
        r"(?P<patient>sub-[^_/]+)(?:_(?P<visit>ses-[^_/]+))?(?P<rest>(?:_[a-z]+-[^_/]+)*)_(?P<contrast>[A-Za-z0-9]+)"
    ),
    {"T1": "T1w", "T2": "T2w", "PD": "PDw", "FLAIR": "FLAIR", "T1c": "ce-T1w"},
    local=True,
)
_COMPLEX_PART = re.compile(r"_part-(?:phase|real|imag)(?:_|$)")

NAMINGS = (
    Naming(
        "IXI",
        re.compile(r"(?P<patient>IXI\d+)-(?P<visit>.+)-(?P<contrast>[A-Z0-9]+)"),
        {"T1": "T1", "T2": "T2", "PD": "PD"},
    ),
    Naming(
        "BraTS 2017 to 2020",
        re.compile(r"(?P<patient>BraTS20_(?:Training|Validation|Testing)_\d+)_(?P<contrast>[a-z0-9]+)", re.IGNORECASE),
        {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair"},
    ),
    Naming(
        "BraTS 2017 to 2020",
        re.compile(r"(?P<patient>BraTS1[789]_.+?)_(?P<visit>\d+)_(?P<contrast>[a-z0-9]+)", re.IGNORECASE),
        {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair"},
    ),
    Naming(
        "BraTS 2021",
        re.compile(r"(?P<patient>BraTS2021_\d+)_(?P<contrast>[a-z0-9]+)"),
        {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair"},
    ),
    Naming(
        "BraTS since 2023",
        # the project (GLI, MET, MEN, PED, SSA, ...) is part of who it is: each numbers its patients from 00000
        re.compile(r"(?P<patient>BraTS-[A-Za-z0-9-]+?-\d{4,})(?:-(?P<visit>\d{1,3}))?-(?P<contrast>[a-z0-9]+)"),
        {"T1": "t1n", "T1c": "t1c", "T2": "t2w", "FLAIR": "t2f"},
    ),
    BIDS,
)
"""Tried in this order; the first with a pair is taken."""

Found = dict[Who, Path]


def volumes(root: Path) -> list[Path]:
    """Every NIfTI file at any depth, hidden ones left out, in the order of their paths."""
    found = (path for folder in below(root) for path in folder.glob("*.nii*") if _SUFFIX.search(path.name))
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts))


def headers(root: Path, *, deep: bool) -> list[Path]:
    """The ``.hdr`` files that have an ``.img`` beside them (Analyze, NIfTI in two files), which are not read.

    deep: at any depth, else in the folder itself.
    """
    folders = below(root) if deep else [root]
    return sorted(p for folder in folders for p in folder.glob("*.hdr") if p.with_suffix(".img").exists())


def by_naming(root: Path, contrasts: tuple[str, str]) -> tuple[tuple[Found, Found], list[Finding]] | None:
    """The target's and the auxiliary's volumes by the first naming that has a pair, and findings; None where none has.

    Raises UserError for two files of one patient, visit and contrast.
    """
    paths = volumes(root)
    for naming in NAMINGS:
        words = [naming.word(contrast) for contrast in contrasts]
        if None in words:
            continue
        findings: list[Finding] = []
        found = [_of_contrast(root, paths, naming, str(word), findings) for word in words]
        if found[0].keys() & found[1].keys():
            findings.insert(0, Finding("info", "naming", str(root), f"files are named as {naming.title} names them"))
            if naming.local:
                found, told = _told_apart(root, found)
                findings += [*told, *_participants(root, found)]
            return (_plain(found[0]), _plain(found[1])), findings
    return None


@dataclass(frozen=True)
class _Place:
    """A patient and visit below the folder in which the patient's name is given."""

    folder: str
    who: Who


def _of_contrast(
    root: Path, paths: Iterable[Path], naming: Naming, word: str, findings: list[Finding]
) -> dict[_Place, Path]:
    candidates: dict[_Place, list[Path]] = defaultdict(list)
    for path in paths:
        match = naming.name.fullmatch(_SUFFIX.sub("", path.name))
        if match is None or _word(match) != word:
            continue
        parts = path.relative_to(root).parts[:-1]
        if naming.local and {"derivatives", "sourcedata"} & set(parts):  # made of the same scans again
            continue
        who = Who(match["patient"], match.groupdict().get("visit") or "")
        candidates[_Place(_data_set(parts) if naming.local else "", who)].append(path)
    out = {}
    again: list[list[Path]] = []
    for place, files in sorted(candidates.items(), key=lambda item: (item[0].folder, item[0].who.volume)):
        if len(files) > 1 and not naming.local:
            raise UserError(
                f"{files[0]} and {files[1]} are both {word} of {place.who.volume}, by the names of {naming.title}; one volume "
                "is needed"
            )
        out[place] = files[0]
        again += [files] if len(files) > 1 else []
    if again:
        text = (
            f"{len(again)} times a visit has several volumes of {word}, of which the first by name is used, e.g. "
            f"{again[0][0].name} and not {again[0][1].name}"
        )
        findings.append(Finding("warning", "several-volumes", str(again[0][0]), text))
    return out


def _word(match: re.Match[str]) -> str:
    """The contrast in a name; "" for one that is not an image of magnitudes."""
    rest = match.groupdict().get("rest") or ""
    if _COMPLEX_PART.search(rest):
        return ""
    return ("ce-" if "_ce-" in rest else "") + match["contrast"]


def _data_set(parts: tuple[str, ...]) -> str:
    """The folder of the BIDS data set that holds a file in these folders: what is above sub-*, ses-* and anat."""
    stop = next((i for i, part in enumerate(parts) if part.startswith("sub-")), len(parts))
    return "/".join(parts[:stop])


def _told_apart(root: Path, found: list[dict[_Place, Path]]) -> tuple[list[dict[_Place, Path]], list[Finding]]:
    """Patients called by their data set too where there are several of these, and a finding where two have one name."""
    folders = sorted({place.folder for of in found for place in of})
    if len(folders) < 2:
        return found, []
    patients: dict[str, set[str]] = defaultdict(set)
    for of in found:
        for place in of:
            patients[place.who.patient].add(place.folder)

    prefixes: dict[str, str] = {}
    for folder in folders:
        name = re.sub(r"[^A-Za-z0-9.]+", "-", folder).strip("-.")
        prefixes[folder] = f"{name}-{len(prefixes)}" if name in prefixes.values() else name

    def called(place: _Place) -> _Place:
        patient = "-".join(part for part in (prefixes[place.folder], place.who.patient) if part)
        return replace(place, who=replace(place.who, patient=patient))

    twice = sorted(name for name, where in patients.items() if len(where) > 1)
    told = []
    if twice:
        first, second = sorted(patients[twice[0]])[:2]
        text = (
            f"{len(twice)} names of patients occur in several folders, such as {twice[0]} in {first or '.'} and in {second}, and "
            "are taken for different people; if they are not, parts of the split may share them"
        )
        told.append(Finding("warning", "patients-alike", str(root), text, marks=True))
    return [{called(place): path for place, path in of.items()} for of in found], told


def _plain(found: Mapping[_Place, Path]) -> Found:
    return {place.who: path for place, path in found.items()}


def _participants(root: Path, found: list[dict[_Place, Path]]) -> Iterator[Finding]:
    """A finding for every ``participants.tsv`` that lists people without a pair, or leaves out people who have one."""
    for folder in sorted({place.folder for of in found for place in of}):
        path = root / folder / "participants.tsv"
        if not path.is_file() or path.stat().st_size > _MAX_TABLE:
            continue
        try:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                rows = list(csv.DictReader(handle, delimiter="\t"))
        except (OSError, UnicodeDecodeError, csv.Error):
            yield Finding(
                "warning", "participants", str(path), "the table cannot be read; patients are those of the files"
            )
            continue
        listed = {str(row.get("participant_id") or "").strip() for row in rows} - {""}
        paired = {
            _SUB.search(path.name)[0]  # type: ignore[index]
            for place, path in found[0].items()
            if place.folder == folder and place in found[1]
        }
        absent, strange = sorted(listed - paired), sorted(paired - listed)
        if absent:
            text = f"{len(absent)} of {len(listed)} participants have no pair of volumes and are left out, e.g. {absent[0]}"
            yield Finding("warning", "participants", str(path), text)
        if strange:
            text = f"{len(strange)} patients with a pair of volumes are not in it, e.g. {strange[0]}; they are used"
            yield Finding("warning", "participants", str(path), text)


_SUB = re.compile(r"sub-[^_]+")
