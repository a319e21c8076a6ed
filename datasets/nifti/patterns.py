"""File-name patterns: which files are the target and the auxiliary volume of whom."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.errors import UserError

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


NAMINGS: dict[str, tuple[str, dict[str, str]]] = {
    "IXI": ("IXI{patient}-{visit}-CONTRAST.nii.gz", {"T1": "T1", "T2": "T2", "PD": "PD"}),
    "BraTS 2021": (
        "BraTS2021_{patient}_CONTRAST.nii.gz",
        {"T1": "t1", "T1c": "t1ce", "T2": "t2", "FLAIR": "flair"},
    ),
    "BraTS since 2023": (
        "BraTS-*-{patient}-{visit}-CONTRAST.nii.gz",
        {"T1": "t1n", "T1c": "t1c", "T2": "t2w", "FLAIR": "t2f"},
    ),
}
"""Names that public data sets give their files: a pattern, and how it writes the contrasts."""

PREFIXES = {"IXI": "IXI"}
"""What the patients of a naming are called before the pattern's {patient}."""


def known_pattern(naming: str, contrast: str) -> str | None:
    """The pattern of a contrast (letter case does not count) in a naming; None where it has none."""
    pattern, words = NAMINGS[naming]
    word = {name.lower(): word for name, word in words.items()}.get(contrast.lower())
    return None if word is None else pattern.replace("CONTRAST", word)


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
