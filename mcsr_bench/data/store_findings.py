"""What was done to the data while a store was built, as findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mcsr_bench.data.reading import source
from mcsr_bench.data.spec import Preparation
from mcsr_bench.plugin.case import Case, Finding


def case_findings(case: Case, volume: Mapping[str, Any]) -> list[Finding]:
    """What was cut off a case, and left out of it."""
    out = []
    shape, kept = tuple(volume["shape"]), volume["slice_index"]
    if shape != case.shape:
        text = f"slices of {case.shape[0]} x {case.shape[1]} were centre-cropped to {shape[0]} x {shape[1]}"
        out.append(Finding("info", "cropped", source(case), text))
    if len(kept) < case.n_slices:
        text = f"{case.n_slices - len(kept)} of {case.n_slices} slices are empty and were left out"
        out.append(Finding("info", "empty-slices", source(case), text))
    return out


def registration_findings(found: Sequence[tuple[str, Mapping[str, Any]]], n_volumes: int) -> list[Finding]:
    """What registrations, each with the file of its auxiliary, did to a set of ``n_volumes`` cases; results are marked with it."""
    out = []
    moved = [(file, record) for file, record in found if record["resampled"]]
    if moved:
        apart, left = ([r[key] for _, r in moved] for key in ("displacement_mm", "residual_px"))
        farthest, worst = (moved[values.index(max(values))][0] for values in (apart, left))
        text = (
            f"auxiliary registered onto the target ({moved[0][1]['mode']}) in {len(moved)} of {n_volumes} cases: the two were "
            f"{median(apart):.2g} mm apart (median; largest {max(apart):.2g}, {Path(farthest).name}), {median(left):.2g} pixels "
            f"are left (largest {max(left):.2g}, {Path(worst).name}); it was interpolated by cubic splines, which costs some "
            "sharpness, most between thick slices"
        )
        out.append(Finding("warning", "registered", farthest, text, marks=True))
    unknown = [file for file, record in found if not record["voxel_known"]]
    if unknown:
        text = "registration took voxels for cubes of 1 mm, because the files do not give their size"
        out.append(Finding("warning", "voxel-size", unknown[0], text, marks=True))
    affine = [file for file, record in found if record["mode"] == "affine"]
    if affine:
        text = (
            "affine registration stretches and shears the auxiliary as well, which two scans of one patient hardly need"
        )
        out.append(Finding("warning", "affine", affine[0], text, marks=True))
    warned: dict[str, list[str]] = {}
    for file, record in found:
        if record["warning"]:
            warned.setdefault(record["warning"], []).append(file)
    for text, where in sorted(warned.items()):
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        code = "affine" if affine else "registered"
        out.append(Finding("warning", code, where[0], f"{text} ({Path(where[0]).name}{more})", marks=True))
    return out


def precision_findings(volumes: Sequence[Mapping[str, Any]], preparation: Preparation) -> list[Finding]:
    """What the type of stored values costs, of the volumes' sidecars; nothing for complex64."""
    known = [v["precision_db"] for v in volumes if v["precision_db"] is not None]
    if not known:
        return []
    text = (
        f"images are stored as {preparation.store_dtype}: they differ from complex64 by a PSNR of {min(known):.1f} dB "
        f"(worst volume)"
    )
    return [Finding("warning", "store-dtype", "", text, marks=True)]
