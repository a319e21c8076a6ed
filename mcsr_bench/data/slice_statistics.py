"""Mean and standard deviation of every slice, by which methods' inputs are normalised: computed when a store is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.data.encoding import ComplexArray, PairVolume
from mcsr_bench.plugin.batch import Statistics
from mcsr_bench.protocol import Protocol

SliceStatistics = Mapping[str, NDArray[np.float32]]
"""By field of a batch, (2, S): means, then standard deviations."""


def slice_statistics(
    protocol: Protocol, volumes: Mapping[str, ComplexArray | PairVolume]
) -> dict[str, list[list[float]]]:
    """Of volumes (S, H, W) by field, as `mcsr_bench.plugin.batch.Batch.of` computes them slice by slice; JSON."""
    found = {}
    for field, volume in volumes.items():
        each = [protocol.statistics(torch.from_numpy(np.array(volume[i : i + 1])).abs()) for i in range(len(volume))]
        found[field] = [torch.cat(values).tolist() for values in zip(*each, strict=True)]
    return found


def read_statistics(noted: Mapping[str, Any]) -> SliceStatistics:
    """What `slice_statistics` gave: a number of JSON is the float32 that it was made of."""
    return {field: np.asarray(values, dtype=np.float32) for field, values in noted.items()}


def chosen_statistics(field: str, chosen: Sequence[tuple[SliceStatistics, int]]) -> Statistics:
    """Of a field in a batch of slices, each given by the statistics of its volume and its place there."""
    mean, std = np.stack([known[field][:, i] for known, i in chosen], axis=1)
    return torch.from_numpy(mean.copy()), torch.from_numpy(std.copy())
