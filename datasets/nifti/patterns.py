"""File-name patterns: which files are the target and the auxiliary volume of whom."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding

_PLACEHOLDER = re.compile(r"(\{[^{}]*\}|\*)")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Who:
    """What is in a file name: the patient and, where the pattern has it, the visit."""

    patient: str
    visit: str = ""

    @property
    def volume(self) -> str:
        """A name for the pair of volumes."""
        return f"{self.patient}-{self.visit}" if self.visit else self.patient


def find(root: Path, pattern: str, setting: str, recursive: bool) -> dict[Who, Path]:
    """The files under ``root`` that match, in the order of patient and visit.

    recursive: the pattern may match at any depth, not only from ``root`` on. ``setting`` names the pattern in messages. Raises
    UserError for a pattern that cannot be used, a name that is not an identifier, or two files for the same patient and visit.
    """
    stem = _checked(pattern, setting)
    expression = re.compile(_expression(stem) + r"\.nii(?:\.gz)?")
    depth = stem.count("/") + 1
    loose = "".join(
        "*" if part == "*" or part.startswith("{") else glob.escape(part) for part in _PLACEHOLDER.split(stem)
    )
    loose = re.sub(r"\*+", "*", loose)  # "**" would be folders of any depth
    found: dict[Who, Path] = {}
    # A folder or a link to nowhere under such a name is a damaged file, not an absent one.
    folders = below(root) if recursive else [root]
    for path in sorted({path for folder in folders for path in folder.glob(loose + ".nii*")}):
        parts = path.relative_to(root).parts
        match = expression.fullmatch("/".join(parts[-depth:]))
        if match is None or any(part.startswith(".") for part in parts):  # an unfinished fetch, or what macOS adds
            continue
        who = Who(**match.groupdict())
        if not _ID.fullmatch(who.volume):
            raise UserError(
                f"{path}: {setting} makes it the volume {who.volume!r}; such a name may have letters, digits, '.', '_' and '-'"
            )
        if who in found:
            raise UserError(f"{found[who]} and {path} both match {setting} for {who.volume}; one volume is needed")
        found[who] = path
    return dict(sorted(found.items(), key=lambda item: (item[0].patient, item[0].visit)))


def hidden_names(root: Path, found: Iterable[tuple[tuple[str, str], Mapping[Who, Path]]]) -> Iterator[Finding]:
    """A finding for every patient whose files differ in what a ``*`` before {patient} stands for: it may be several people.

    found: of each role the name of the setting, the pattern, and its volumes.
    """
    for (setting, pattern), files in found:
        stem = re.sub(r"\.nii(\.gz)?$", "", pattern)
        before = stem.partition("{patient}")[0]
        if "*" not in before:
            continue
        expression = re.compile(f"({_expression(before)}){_expression(stem.removeprefix(before))}" + r"\.nii(?:\.gz)?")
        names: dict[str, set[str]] = {}
        for who, path in files.items():
            match = expression.fullmatch("/".join(path.relative_to(root).parts[-stem.count("/") - 1 :]))
            if match is not None:
                names.setdefault(who.patient, set()).add(match[1] + who.patient)
        for patient, several in names.items():
            if len(several) > 1:
                yield Finding(
                    "warning",
                    "patients-alike",
                    str(root),
                    f"files of {' and '.join(sorted(several)[:2])} are one patient, {patient}, by {setting}={pattern}; where these "
                    "are different people, {patient} has to take the place of *; they are used so, and results are marked",
                    marks=True,
                )


def below(root: Path) -> Iterator[Path]:
    """A folder and all below it, each once, links followed, which `Path.glob` does not; what cannot be read is left out."""
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop(0)
        if (real := folder.resolve()) in seen:  # links may lead in circles
            continue
        seen.add(real)
        yield folder
        with suppress(PermissionError):
            waiting += sorted(path for path in folder.iterdir() if os.path.isdir(path))


def _checked(pattern: str, setting: str) -> str:
    """The pattern without its suffix. UserError if it cannot be used."""
    stem = re.sub(r"\.nii(\.gz)?$", "", pattern)
    where = f"--set {setting}={pattern}"
    if stem == pattern or not stem:
        raise UserError(f"{where}: a pattern ends with .nii.gz or .nii")
    if pattern.startswith(("/", "~")) or {"", ".", ".."} & set(stem.split("/")):
        raise UserError(f"{where}: a pattern is relative to --data-root, without '..'")
    fields = [part for part in _PLACEHOLDER.split(stem) if part.startswith("{")]
    unknown = [part for part in fields if part not in ("{patient}", "{visit}")]
    if unknown or "{patient}" not in fields or "**" in stem:
        raise UserError(f"{where}: a pattern has {{patient}}, perhaps {{visit}} and *, and no other placeholder")
    return stem


def _expression(stem: str) -> str:
    out, seen = "", set()
    for part in _PLACEHOLDER.split(stem):
        if part == "*":
            out += "[^/]*"
        elif part.startswith("{"):
            name = part[1:-1]
            out += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
        else:
            out += re.escape(part)
    return out
