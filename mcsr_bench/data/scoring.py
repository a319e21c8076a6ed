"""The scores of predicted volumes, as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import metrics
from mcsr_bench.data.store import StoredVolume
from mcsr_bench.protocol import Protocol

Rows = list[dict[str, Any]]


def score_prediction(
    prediction: NDArray[np.number], volume: StoredVolume, protocol: Protocol, scale: int, role: str = "target"
) -> metrics.VolumeScores:
    """The scores of a predicted volume (S, H, W), magnitude or complex, against the reference that the protocol defines."""
    image, low = (volume.target, volume.target_lr) if role == "target" else (volume.auxiliary, volume.auxiliary_lr)
    reference = protocol.scoring_reference(np.asarray(image), np.asarray(low))

    def degrade(x: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        return protocol.degrade(torch.from_numpy(x), scale).numpy()

    return metrics.score_volume(prediction, metrics.Reference(reference), lr=np.asarray(low), degrade=degrade)


def score_rows(
    predictions: Mapping[str, NDArray[np.number]],
    volume: StoredVolume,
    protocol: Protocol,
    scale: int,
    contrasts: Mapping[Any, str],
) -> tuple[Rows, Rows]:
    """What was predicted of a volume, (S, H, W) by role, as rows for the tables of volumes and of slices.

    contrasts: the contrast in each role. A row holds patient_id, volume_id, role, contrast (of a slice also slice_index) and a
    score per metric id.
    """
    volumes: Rows = []
    slices: Rows = []
    for role, prediction in predictions.items():
        scores = score_prediction(prediction, volume, protocol, scale, role)
        head = {
            "patient_id": volume.patient_id,
            "volume_id": volume.volume_id,
            "role": role,
            "contrast": contrasts[role],
        }
        volumes.append(head | scores.volume)
        for index, row in zip(volume.slice_index, scores.slices, strict=True):
            slices.append(head | {"slice_index": index} | row)
    return volumes, slices
