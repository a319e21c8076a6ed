"""The scores of predicted volumes, as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import kspace, metrics
from mcsr_bench.data.store import StoredVolume
from mcsr_bench.protocol import Protocol
from mcsr_bench.regions import Mask, foreground

Rows = list[dict[str, Any]]


def score_prediction(
    prediction: NDArray[np.number], volume: StoredVolume, protocol: Protocol, scale: int, role: str = "target"
) -> metrics.VolumeScores:
    """The scores of a predicted volume (S, H, W), magnitude or complex, against the reference that the protocol defines."""
    image, low = (volume.target, volume.target_lr) if role == "target" else (volume.auxiliary, volume.auxiliary_lr)
    truth = metrics.Reference(
        protocol.scoring_reference(np.asarray(image), np.asarray(low)), region_of_interest(volume)
    )
    filled = kspace.zero_fill(torch.from_numpy(np.array(low)), volume.shape) / protocol.lr_gain(scale)

    def degrade(x: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        return protocol.degrade(torch.from_numpy(x), scale).numpy()

    return metrics.score_volume(
        prediction,
        truth,
        lr=np.asarray(low),
        degrade=degrade,
        zero_filled=filled.abs().numpy().astype(np.float64),
    )


def region_of_interest(volume: StoredVolume) -> Mask:
    """Where a volume is scored apart, (S, H, W): the data set's region, otherwise the foregrounds of both contrasts together.

    A fat-suppressed target alone does not show where the knee is.
    """
    if (given := volume.roi) is not None:
        return given
    one, other = (foreground(np.abs(np.asarray(x)).astype(np.float64)) for x in (volume.target, volume.auxiliary))
    return one | other


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
