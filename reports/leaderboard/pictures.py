"""The images of the viewer: a few slices of a few patients of a board, as 16-bit numbers in scripts of their own.

Patients are chosen by rule: evenly from the worst to the best by PSNR, over all rows; slices evenly within the volume.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcsr_bench.data.store import Store, StoredVolume, open_store
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.predicted import magnitude
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.load import Results
from mcsr_bench.results.predictions import Predictions, stored_predictions
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import frames

from .boards import Board, Row
from .scoring import SHOWN, Scores
from .scripts import write_script
from .vouching import shown

PATIENTS, SLICES = 4, 5
MOST = 12 << 20
"""Bytes of 16-bit numbers that a board may have, before base64: fewer slices, then fewer patients, where they would be more."""
_LEVELS = 65535

Image = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A volume that is shown."""

    patient: str
    volume: StoredVolume
    positions: tuple[int, ...]
    """Of the slices, in the prepared volume."""


def write_pictures(
    board: Board, scores: Scores, results: Results, to: Path, *, verdicts: Mapping[Path, Verdict], real_images: bool
) -> dict[str, Any]:
    """The scripts of a board's images; what the viewer must know of them, or ``reason``: why there are none, a sentence.

    Only predictions that are verified are shown: those of others may be anything.
    """
    if board.data.real and not real_images:
        return {
            "reason": "Images of real data are published only with --real-images, where the licence of the data allows it."
        }
    predicted = [(row, bundle) for row in board.rows if (bundle := _shown(row, results, verdicts)) is not None]
    if not predicted:
        return {"reason": "No bundle of this table has predictions that were verified here."}
    try:
        store = open_store(board.data.store)
        cases = _cases(board, scores, store, len(predicted) + 3)
        store.compare([case.volume.volume_id for case in cases])
    except UserError as error:  # tables do not need the prepared data
        return {"reason": f"{error}."}
    out = [_case(board, case, number, to) for number, case in enumerate(cases)]
    methods = []
    for number, (row, bundle) in enumerate(predicted):
        methods.append({"key": f"m{number}", "row": row.name, "title": row.title})
        with stored_predictions(bundle) as predictions:
            for k, (case, about) in enumerate(zip(cases, out, strict=True)):
                write_script(to, f"{board.name}/v{k}-m{number}", _packed(_predicted(predictions, case, board.role)))
                about["scores"][row.name] = _slice_scores(board, bundle, case)
    return {"cases": out, "methods": methods}


def _shown(row: Row, results: Results, verdicts: Mapping[Path, Verdict]) -> Bundle | None:
    """The bundle with verified predictions of the smallest seed that has any."""
    found = (shown(row, bundle, results, verdicts) for bundle in row.bundles)
    return next((bundle for bundle in found if bundle is not None), None)


def _cases(board: Board, scores: Scores, store: Store, images: int) -> list[Case]:
    patients = np.array(scores.patients)
    means = pd.DataFrame([one.patients for one in scores.rows.values()]).mean().to_numpy()
    order = patients[np.argsort(means, kind="stable")]
    volumes = {str(r.patient_id): str(r.volume_id) for row in board.rows for r in row.volumes.iloc[::-1].itertuples()}
    there = [name for name in order if volumes.get(name) in store.volumes]
    n_patients, n_slices = PATIENTS, SLICES
    one = max((h * w * 2 * images for h, w in board.data.hr_shapes), default=1)
    while n_patients * n_slices > 1 and one * n_patients * n_slices > MOST:
        n_patients, n_slices = (n_patients, n_slices - 1) if n_slices > 1 else (n_patients - 1, 1)
    chosen = [there[k] for k in _evenly(len(there), n_patients)]
    cases = []
    for name in chosen:
        volume = store.volumes[volumes[name]]
        inner = _evenly(len(volume.slice_index) + 2, n_slices + 2)[1:-1]  # not the outermost ones
        cases.append(
            Case(str(name), volume, tuple(dict.fromkeys(min(k - 1, len(volume.slice_index) - 1) for k in inner)))
        )
    return cases


def _evenly(n: int, k: int) -> list[int]:
    """k of n positions from the first to the last, or all of them."""
    return sorted({round(float(x)) for x in np.linspace(0, n - 1, min(k, n))})


def _case(board: Board, case: Case, number: int, to: Path) -> dict[str, Any]:
    """The target, its LR image and the auxiliary of a case, written; and what the viewer must know of the case."""
    protocol, volume, at = get_protocol(board.record.protocol), case.volume, list(case.positions)
    target = board.role == "target"
    truth, low, other = (
        (volume.target, volume.target_lr, volume.auxiliary)
        if target
        else (volume.auxiliary, volume.auxiliary_lr, volume.target)
    )
    pairs = [protocol.scoring_reference(np.asarray(truth[k : k + 1]), np.asarray(low[k : k + 1]))[0] for k in at]
    scored = np.stack([np.abs(image).astype(np.float64) for image in pairs])
    images = {
        "hr": scored,
        "lr": np.abs(np.asarray(low)[at]).astype(np.float64) / protocol.lr_gain(board.record.scale),
        "aux": np.abs(np.asarray(other)[at]).astype(np.float64),
    }
    for key, image in images.items():
        write_script(to, f"{board.name}/v{number}-{key}", _packed(image))
    return {
        "patient": case.patient,
        "volume": volume.volume_id,
        "slices": [volume.slice_index[k] for k in at],
        "shape": list(volume.shape),
        "white": float(np.percentile(scored, 99.7)) or 1.0,
        "auxiliary_white": float(np.percentile(images["aux"], 99.7)) or 1.0,
        "scores": {},
    }


def _predicted(predictions: Predictions, case: Case, role: str) -> Image:
    found = predictions.read(case.volume.volume_id)
    if role not in found:
        raise UserError(f"the predictions of {case.volume.volume_id} lack the {role}")
    return magnitude(found[role][list(case.positions)])


def _packed(images: Image) -> dict[str, Any]:
    """(S, H, W) as little-endian 16-bit numbers in base64; ``top`` is what the largest stands for."""
    images = np.nan_to_num(images, posinf=0.0, neginf=0.0)
    top = float(images.max()) or 1.0
    levels = np.rint(np.clip(images / top, 0, 1) * _LEVELS).astype("<u2")
    return {"shape": list(images.shape), "top": top, "levels": base64.b64encode(levels.tobytes()).decode()}


def _slice_scores(board: Board, bundle: Bundle, case: Case) -> list[dict[str, float]]:
    table = frames.read_csv(bundle.checked(bundle.slices), ("patient_id", "volume_id", "role", "contrast"))
    own = table[(table["volume_id"] == case.volume.volume_id) & (table["role"] == board.role)].set_index("slice_index")
    return [dict(_of(own, case.volume.slice_index[k])) for k in case.positions]


def _of(table: Any, index: int) -> Iterator[tuple[str, float]]:
    for metric in SHOWN:
        if metric in table and index in table.index:
            yield metric, float(table.loc[index, metric])
