"""What people read in place of ``METHOD@VARIANT``: ``minet (budget=100)``. Paths, CSV files and options keep the ``@``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mcsr_bench.system import files

LONGEST = 80
"""Characters in the brackets of a name: patterns of file names would fill whole rows of every table."""


def label(name: str, variant: str) -> str:
    """``NAME[@VARIANT]``."""
    return f"{name}@{variant}" if variant else name


def changed(standard: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from the standard ones, in their order."""
    return {key: value for key, value in settings.items() if standard.get(key) != value}


def variant_of(changes: Mapping[str, Any], name: str = "") -> str:
    """The variant of settings: a suite's name for them, and 8 digits over what else differs from the standard."""
    return "-".join(part for part in (name, files.digest(changes, 8) if changes else "") if part)


def shown(name: str, variant: str, changes: Mapping[str, Any]) -> str:
    """What people read: ``zerofill (magnitude)``, ``minet (budget=100, patch=0)``; the digits where the changes are not known.

    What would be longer than `LONGEST` in the brackets is counted: ``nifti (2 settings)``.
    """
    named = variant.removesuffix(variant_of(changes)).removesuffix("-") if changes else variant
    inside = ", ".join([*([named] if named else []), *(f"{key}={_text(value)}" for key, value in changes.items())])
    if len(inside) > LONGEST and changes:
        counted = f"{len(changes)} setting{'s' if len(changes) > 1 else ''}"
        inside = f"{named}, {counted}" if named else counted
    return f"{name} ({inside})" if inside else name


def shown_names(found: Iterable[tuple[str, str, Mapping[str, Any]]]) -> dict[str, str]:
    """`shown` by `label`, of names with their variants and changes; where two would read the same, the variant stands behind."""
    longest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, variant, changes in found:  # a record of an earlier version does not know its changes
        longest[name, variant] = changes or longest.get((name, variant), {})
    texts = {key: shown(*key, changes) for key, changes in longest.items()}
    same = list(texts.values())
    return {
        label(*key): f"{text} [{key[1]}]" if key[1] and same.count(text) > 1 else text for key, text in texts.items()
    }


def spans(numbers: Iterable[int]) -> str:
    """Different whole numbers for people: "0, 1", "0 to 9, 20"; four or more in a row are a span."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 3 else ", ".join(map(str, run)) for run in runs)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
