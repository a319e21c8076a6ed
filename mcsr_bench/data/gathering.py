"""Where the images of a training batch are gathered from: the store's files, or a device that holds all training slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcsr_bench.data.store import StoredVolume
from mcsr_bench.data.window import Window

Field = Literal["target_lr", "auxiliary", "auxiliary_lr", "target"]
FIELDS: Final[tuple[Field, ...]] = ("target_lr", "auxiliary", "auxiliary_lr", "target")
Slice = tuple[StoredVolume, int]
"""A volume and a position in it."""


class Source(Protocol):
    """Gives the windows of slices, stacked."""

    def gathered(self, field: Field, chosen: Sequence[Slice], windows: Sequence[Window], factor: int) -> Tensor:
        """complex64 (B, h * factor, w * factor); factor: samples of that field per LR sample."""


class FromFiles:
    """Reads what a window needs, and nothing else, from the volumes of the store."""

    def gathered(self, field: Field, chosen: Sequence[Slice], windows: Sequence[Window], factor: int) -> Tensor:
        """As in `Source`, in the processor's memory."""
        shape = (len(chosen), windows[0].height * factor, windows[0].width * factor)
        out = np.empty(shape, dtype=np.complex64)
        for k, ((volume, i), window) in enumerate(zip(chosen, windows, strict=True)):
            window.cut(getattr(volume, field), i, factor, out[k])
        return torch.from_numpy(out)


class OnDevice:
    """Holds all slices on a device and gathers there, in one operation per field: the same bits as `FromFiles`."""

    def __init__(self, volumes: Sequence[StoredVolume], device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._images: dict[tuple[tuple[int, int], Field], Tensor] = {}
        self._first: dict[str, int] = {}
        """The position of a volume's first slice among those of its size."""
        for size in sorted({volume.shape for volume in volumes}):
            alike = [volume for volume in volumes if volume.shape == size]
            ends = np.cumsum([len(volume.slice_index) for volume in alike])
            self._first |= {v.volume_id: int(end) - len(v.slice_index) for v, end in zip(alike, ends, strict=True)}
            for field in FIELDS:
                self._images[size, field] = self._loaded(field, alike)

    def _loaded(self, field: Field, volumes: Sequence[StoredVolume]) -> Tensor:
        """All slices of volumes of one size, (S, H, W); volume by volume, so that no second copy of all is needed."""
        arrays = [getattr(volume, field) for volume in volumes]
        out = torch.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), dtype=torch.complex64, device=self._device)
        at = 0
        for array in arrays:
            out[at : at + len(array)] = torch.from_numpy(np.array(array[:]))
            at += len(array)
        return out

    def gathered(self, field: Field, chosen: Sequence[Slice], windows: Sequence[Window], factor: int) -> Tensor:
        """As in `Source`, on the device."""
        images = self._images[chosen[0][0].shape, field]
        _, height, width = images.shape
        sources = [window.sources(height, width, factor) for window in windows]
        turned = self._tensor([window.transpose for window in windows])[:, None, None]
        # What a row of the patch goes through is a column of the slice where that is transposed.
        by_row = self._tensor([s[w.transpose] for s, w in zip(sources, windows, strict=True)])[:, :, None]
        by_column = self._tensor([s[not w.transpose] for s, w in zip(sources, windows, strict=True)])[:, None, :]
        rows, columns = torch.where(turned, by_column, by_row), torch.where(turned, by_row, by_column)
        which = self._tensor([self._first[volume.volume_id] + i for volume, i in chosen])[:, None, None]
        return images[which, rows, columns]

    def _tensor(self, values: Sequence[Any] | Sequence[NDArray[np.intp]]) -> Tensor:
        return torch.from_numpy(np.asarray(values)).to(self._device)


def bytes_needed(volumes: Sequence[StoredVolume]) -> int:
    """What `OnDevice` takes."""
    return sum(8 * int(np.prod(getattr(volume, field).shape)) for volume in volumes for field in FIELDS)
