"""From the facts of all cases to findings and to a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mcsr_bench.plugin.case import Finding
from mcsr_bench.roles import ROLES

from .brightest import DAMAGED, HOT
from .duplicates import equal_pairs
from .pairs import information
from .spectrum import Edges

Facts = Mapping[str, Any]

SMALL = 0.03
"""Share of an axis that may hold no energy without a word: an axis padded to a good FFT length is not zero-filled."""
MISREGISTERED = 1.0
"""Pixels."""
UNLIKE = 0.02
"""Relative difference of k-space from the images in its file; float32 gives some 1e-6."""
OFF_CENTRE = 1.5
"""Samples of k-space: the centroid rounds to more than one."""
_OTHERS = 20
"""How many other patients a pair is compared with."""
_FEWEST = 5
"""With fewer no auxiliary is called another patient's."""

COLUMNS = (
    "contrast", "files", "patients", "slices", "matrix", "coils", "dtype", "acquired", "phase", "shift (px)", "largest value",
)  # fmt: skip


def magnitudes_alone(facts: Sequence[Facts]) -> bool:
    """Whether complex data hold a magnitude in disguise: then all of the set goes to the magnitude track, as magnitudes."""
    return any(contrast["fake_complex"] for case in facts for contrast in case["contrasts"].values())


def findings(facts: Sequence[Facts], scales: Sequence[int]) -> list[Finding]:
    """What a reader of results should know, over all cases of a data set, case by case; scales: those that will be run."""
    out: list[Finding] = []
    seen: set[tuple[str, str, str]] = set()
    moved = magnitudes_alone(facts)
    for case in facts:
        for role in ROLES:
            contrast = case["contrasts"][role]
            # What is super-resolved has to hold more than the LR image; the other contrast may hold less.
            found = [
                *_hot_voxel(contrast, scored=role == "target"),
                *_of_contrast(case, contrast, scales if role == "target" else (), moved),
            ]
            for finding in found:
                # A file in several cases (a split by slice) is spoken of once.
                key = finding.code, finding.file, contrast["name"]
                if key not in seen:
                    seen.add(key)
                    out.append(finding)
        out += _of_pair(case)
    return out + _duplicates(facts) + _strangers(facts)


def facts_table(facts: Sequence[Facts]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and one row of text for each contrast of the data set, target first."""
    rows: list[tuple[str, ...]] = []
    for role in ROLES:
        contrasts = [case["contrasts"][role] for case in facts]
        if not contrasts:
            continue
        stored = [c["stored"] or {} for c in contrasts]
        shifts = [float(np.hypot(*case["pair"]["shift"])) for case in facts if case["pair"]["shift"]]
        shift = f"{np.median(shifts):.2f}, at most {max(shifts):.2f}" if shifts else "not found"
        peaks = sorted(c["range"][1] for c in contrasts)
        rows.append(
            (
                _several([c["name"] for c in contrasts]),
                str(len({c["file"] for c in contrasts})),
                str(len({case["patient_id"] for case in facts})),
                _span([c["slices"] for c in contrasts]),
                _several([_times(c["shape"]) for c in contrasts]),
                _span([c["coils"] for c in contrasts]),
                _several([s.get("dtype", "complex64") for s in stored]),
                _several([_acquired(c) for c in contrasts]),
                _several([_phase(case, c) for case, c in zip(facts, contrasts, strict=True)]),
                "-" if role == "target" else shift,
                " to ".join(dict.fromkeys((f"{peaks[0]:.3g}", f"{peaks[-1]:.3g}"))),
            )
        )
    return COLUMNS, rows


def _hot_voxel(c: Facts, *, scored: bool) -> Iterator[Finding]:
    """A maximum far above the rest of its volume; in a contrast that is not scored it moves no peak, and is left alone."""
    if not c["brightest"] > 0:
        return
    times = c["range"][1] / c["brightest"]
    begin = f"{c['name']}: the largest value is {times:.3g} times the 99.9th percentile of its volume"
    if times > DAMAGED:
        yield Finding("error", "hot-voxel", c["file"], f"{begin}, a damaged value; the suite refuses the data")
    elif times > HOT and scored:
        text = (
            f"{begin}, a hot voxel; a PSNR whose peak is the volume's maximum is too high by as much (psnr@robust is not), and "
            "results are marked"
        )
        yield Finding("warning", "hot-voxel", c["file"], text, marks=True)


def _of_contrast(case: Facts, c: Facts, scales: Sequence[int], moved: bool) -> Iterator[Finding]:
    """Findings on one contrast; moved: the magnitudes of the set are used, not its phase."""
    file, name = c["file"], c["name"]
    if c["not_finite"]:
        text = f"{name}: slice {c['not_finite'][0]} holds NaN or Inf; the suite refuses the data"
        yield Finding("error", "nan", file, text)
    if c["zero"]:
        yield Finding("error", "zero", file, f"{name}: every value is zero; the suite refuses the data")
    if c["edges"] is None:
        return
    edges = [Edges(**e) for e in c["edges"]]
    acquired = [e.acquired for e in edges]
    partial = [abs(e.low - e.high) > max(3, 2 * SMALL * e.size) for e in edges]
    extents = [e.extent for e in edges]
    matrix = f"{acquired[0]} x {acquired[1]} of {_times(c['shape'])}"
    where = {"raw": "k-space", "image": "the spectrum of the images"}[c["spectrum"]]
    if min(extents) < 1 - SMALL:
        refused = [s for s in scales if min(extents) < 1.25 / s]
        if refused:
            text = (
                f"{name}: zero-filled, {where} holds energy in {matrix} only; the suite refuses it as HR image at scale "
                f"{', '.join(map(str, refused))}, where less than a quarter more than the LR image would be left to find"
            )
            yield Finding("error", "zero-filled", file, text, marks=True)
        else:
            text = f"{name}: zero-filled, {where} holds energy in {matrix} only; it is used as it is, and results are marked"
            yield Finding("warning", "zero-filled", file, text, marks=True)
    if any(partial) and not c["fake_complex"] and case["track"] == "complex":
        axes = [a for a, p in zip(("rows", "columns"), partial, strict=True) if p]
        text = (
            f"{name}: partial Fourier, one end of the {' and '.join(axes)} of {where} is empty (energy in {matrix}); it is "
            "used as it is, and results are marked"
        )
        yield Finding("warning", "partial-fourier", file, text, marks=True)
    if c["fake_complex"]:
        down, along = (round(v, 1) + 0.0 for v in c["phase"]["slope"])  # + 0.0: not "-0.0"
        straight = max(abs(down), abs(along)) > 0.25
        what = f"a straight slope of {down:+.1f} rows and {along:+.1f} columns of k-space" if straight else "constant"
        text = (
            f"{name}: complex by name only, the phase is {what} ({c['phase']['rms']:.3f} rad besides); the suite moves the "
            "data to the magnitude track, where the magnitudes of all volumes are degraded, and results are marked"
        )
        yield Finding("warning", "fake-complex", file, text, marks=True)
    if case["track"] == "complex" and max(abs(v) for v in c["centre"]) > OFF_CENTRE:
        y, x = c["centre"]
        peak = f"{name}: the peak of k-space is {y:+.1f} rows and {x:+.1f} columns from its centre sample"
        text = (
            f"{peak}; the LR image is made of magnitudes, to which that does nothing"
            if moved
            else f"{peak}; it is used as it is, so the crop that makes the LR image is off by as much, and results are marked"
        )
        yield Finding("warning", "off-centre", file, text, marks=not moved)
    yield from _against_images(c)
    header = (c["stored"] or {}).get("acquired")
    stored = (c["stored"] or {}).get("shape")
    if header and stored and case["track"] == "complex":
        shares = [e.acquired / e.size for e in edges]
        claims = [min(1.0, s / n) for s, n in zip(header, stored[-2:], strict=True)]
        if max(abs(a - b) for a, b in zip(shares, claims, strict=True)) > SMALL:
            text = f"{name}: the header gives {_times(header)} of {_times(stored[-2:])} as acquired, {where} holds {matrix}"
            yield Finding("info", "header-acquired", file, f"{text}; the data are used, not the header")


def _against_images(c: Facts) -> Iterator[Finding]:
    """K-space that does not give the images that its publisher put beside it is stored in another order than assumed."""
    if c["reconstruction"] is None:
        return
    apart, factor = c["reconstruction"]
    if apart > UNLIKE:
        text = (
            f"{c['name']}: the images in the file are not those of its k-space (they differ by {apart:.0%}), whose axes, centre "
            "or transform may be others; k-space is used, and results are marked"
        )
        yield Finding("warning", "reconstruction", c["file"], text, marks=True)
    elif abs(factor - 1) > UNLIKE:
        text = f"{c['name']}: the images in the file are {factor:.4g} times those of its k-space; values are those of k-space"
        yield Finding("info", "reconstruction", c["file"], text)


def _of_pair(case: Facts) -> Iterator[Finding]:
    pair, files = case["pair"], [case["contrasts"][role]["file"] for role in ROLES]
    names = [case["contrasts"][role]["name"] for role in ROLES]
    if pair["correlation"] is not None and pair["correlation"] > 0.999:
        who = f"patient {case['patient_id']} ({files[0]}, {files[1]})"
        text = f"{names[0]} and {names[1]} of {who} are the same image; kept, and results are marked"
        yield Finding("warning", "contrast-mismatch", files[1], text, marks=True)
    elif pair["overlap"] is not None and pair["overlap"] < 0.5:
        text = (
            f"{names[0]} and {names[1]} of patient {case['patient_id']} do not show the same anatomy: their foregrounds "
            f"overlap by {pair['overlap']:.2f} (Dice); kept, and results are marked"
        )
        yield Finding("warning", "contrast-mismatch", files[1], text, marks=True)
    if pair["shift"] and float(np.hypot(*pair["shift"])) > MISREGISTERED:
        y, x = pair["shift"]
        text = (
            f"{names[1]} is {y:+.1f} rows and {x:+.1f} columns from {names[0]} (median of {len(pair['slices'])} slices); kept as "
            "it is, and results are marked"
        )
        yield Finding("warning", "misregistered", files[1], text, marks=True)


def _duplicates(facts: Sequence[Facts]) -> list[Finding]:
    where: list[tuple[Facts, Facts]] = []
    signatures: list[tuple[tuple[int, ...], str]] = []
    for case in facts:
        for role in ROLES:
            contrast = case["contrasts"][role]
            for _, text in contrast["signatures"]:
                where.append((case, contrast))
                signatures.append((tuple(case["shape"]), text))
    found: dict[tuple[str, str], list[Any]] = {}
    for i, j in equal_pairs(signatures):
        (case, contrast), (other, twin) = where[i], where[j]
        if contrast["file"] == twin["file"] or case is other:
            continue
        entry = found.setdefault((contrast["file"], twin["file"]), [0, case, contrast, other, twin])
        entry[0] += 1
    out = []
    for (first, second), (n, case, contrast, other, twin) in found.items():
        patients = case["patient_id"], other["patient_id"]
        least = min(len(contrast["signatures"]), len(twin["signatures"]))
        if patients[0] == patients[1] and n < 0.9 * least:
            continue
        who = (
            f"patients {patients[0]} and {patients[1]}"
            if patients[0] != patients[1]
            else f"patient {patients[0]} twice"
        )
        text = (
            f"{n} of {least} slices of {first} and {second} ({who}) are the same up to a factor; kept, so parts of a split may "
            "share them, and results are marked"
        )
        out.append(Finding("warning", "duplicate-slices", first, text, marks=True))
    return out


def _strangers(facts: Sequence[Facts]) -> list[Finding]:
    """Auxiliaries that have no more information on their target than those of other patients.

    By mutual information, of the middle slice at 64 x 64, against the second best of the target with 20 other auxiliaries and of
    the auxiliary with 20 other targets: about 1 in 20 swapped auxiliaries is not found, in small sets more.
    """
    able = [case for case in facts if case["pair"]["thumbnails"]]
    patients = sorted({case["patient_id"] for case in able})
    if len(patients) <= _FEWEST:
        return []
    out = []
    for i, case in enumerate(able):
        target, auxiliary = case["pair"]["thumbnails"]
        own = information(target, auxiliary)
        others: list[float] = []
        for step in range(1, len(able)):
            other = able[(i + step) % len(able)]
            if other["patient_id"] != case["patient_id"]:
                theirs = other["pair"]["thumbnails"]
                others += [information(target, theirs[1]), information(theirs[0], auxiliary)]
            if len(others) >= 2 * _OTHERS:
                break
        # The second best: the best may be this very patient under another name.
        if own <= 1.05 * sorted(others)[-2] and (case["pair"]["overlap"] or 1) >= 0.5:
            names = [case["contrasts"][role]["name"] for role in ROLES]
            file = case["contrasts"]["auxiliary"]["file"]
            text = (
                f"{names[1]} of patient {case['patient_id']} is not more like its {names[0]} than other patients' {names[1]}; "
                "the two may be of different patients or slices; kept, and results are marked"
            )
            out.append(Finding("warning", "contrast-mismatch", file, text, marks=True))
    return out


def _acquired(c: Facts) -> str:
    if c["edges"] is None:
        return "?"
    acquired = [Edges(**e).acquired for e in c["edges"]]
    return "all" if acquired == list(c["shape"]) else f"{_times(acquired)} of {_times(c['shape'])}"


def _phase(case: Facts, c: Facts) -> str:
    if case["track"] == "magnitude" or c["fake_complex"]:
        return "none"
    return "own" if c["phase"] else "?"


def _times(shape: Sequence[int]) -> str:
    return " x ".join(str(int(n)) for n in shape)


def _span(values: Sequence[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)}-{max(values)}"


def _several(texts: Sequence[str], most: int = 3) -> str:
    """The distinct texts, most frequent first, and how many more there are."""
    distinct = sorted(set(texts), key=lambda t: (-list(texts).count(t), t))
    return ", ".join(distinct[:most]) + (f" and {len(distinct) - most} more" if len(distinct) > most else "")
