"""The batch of slices that a method sees.

Its fields are listed once, each with what it holds; cropping, mirroring, moving, selecting and stacking follow from that list. So
a subclass that adds an image declares whether it has LR or HR size, and gets all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor

from mcsr_bench import kspace
from mcsr_bench.protocol import Protocol as BenchProtocol

Statistics = tuple[Tensor, Tensor]
"""Mean and standard deviation per slice, two tensors (B,), in physical units."""

Prediction = Tensor | dict[str, Tensor]
"""(B, H, W), magnitude or complex, in physical units; or {"target": ..., "auxiliary": ...} where both are scored."""


Holds = Literal["LR image", "HR image", "statistics", "value per slice", "constant"]


def _holding(what: Holds) -> Mapping[str, Holds]:
    return MappingProxyType({"holds": what})


LR_IMAGE = _holding("LR image")
"""Metadata of a field: a tensor (B, h, w), or None."""
HR_IMAGE = _holding("HR image")
"""A tensor (B, H, W), or None."""
STATISTICS = _holding("statistics")
"""`Statistics` of whole slices, which a patch keeps."""
PER_SLICE = _holding("value per slice")
"""A tuple of B values, or empty."""
CONSTANT = _holding("constant")
"""The same for every slice."""


@dataclass(frozen=True)
class Batch:
    """Slices as a method sees them; images are complex64 and in physical units, statistics are those of whole slices.

    Methods take what they need: complex images, or the normalised magnitudes below, by the protocol (the target, at HR and LR, by
    the statistics of its LR image, so that nothing of the target is used). A subclass may add fields; each declares by its metadata
    what it holds, ``clean: Tensor = field(kw_only=True, metadata=LR_IMAGE)``.
    """

    target_lr: Tensor = field(metadata=LR_IMAGE)
    """(B, h, w)."""
    auxiliary: Tensor = field(metadata=HR_IMAGE)
    """(B, H, W), the auxiliary contrast at full resolution."""
    auxiliary_lr: Tensor = field(metadata=LR_IMAGE)
    """(B, h, w), the auxiliary degraded like the target."""
    scale: int = field(metadata=CONSTANT)
    protocol: BenchProtocol = field(metadata=CONSTANT)
    target_statistics: Statistics = field(metadata=STATISTICS)
    auxiliary_statistics: Statistics = field(metadata=STATISTICS)
    target: Tensor | None = field(default=None, metadata=HR_IMAGE)
    """(B, H, W); None when predicting."""
    patient_id: tuple[str, ...] = field(default=(), metadata=PER_SLICE)
    slice_index: tuple[int, ...] = field(default=(), metadata=PER_SLICE)
    volume_id: tuple[str, ...] = field(default=(), metadata=PER_SLICE)
    joint: bool = field(default=False, metadata=CONSTANT)
    """Joint super-resolution of both contrasts: the auxiliary at full resolution is what is learned, not an input."""

    @classmethod
    def of(
        cls,
        target_lr: Tensor,
        auxiliary: Tensor,
        auxiliary_lr: Tensor,
        *,
        scale: int,
        protocol: BenchProtocol,
        target: Tensor | None = None,
        patient_id: tuple[str, ...] = (),
        slice_index: tuple[int, ...] = (),
        volume_id: tuple[str, ...] = (),
        joint: bool = False,
    ) -> Batch:
        """A batch of whole slices with the protocol's statistics; joint: the auxiliary's are those of its LR image."""
        auxiliary_source = auxiliary_lr if protocol.auxiliary_source(joint=joint) == "auxiliary_lr" else auxiliary
        return cls(
            target_lr=target_lr,
            auxiliary=auxiliary,
            auxiliary_lr=auxiliary_lr,
            scale=scale,
            protocol=protocol,
            target_statistics=protocol.statistics(target_lr.abs()),
            auxiliary_statistics=protocol.statistics(auxiliary_source.abs()),
            target=target,
            patient_id=patient_id,
            slice_index=slice_index,
            volume_id=volume_id,
            joint=joint,
        )

    def __len__(self) -> int:
        return len(self.target_lr)

    @property
    def hr_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.auxiliary.shape[-2], self.auxiliary.shape[-1]

    @property
    def target_lr_magnitude(self) -> Tensor:
        """Normalised |target LR|, float32 (B, h, w)."""
        return self.protocol.normalize(self.target_lr.abs(), *self.target_statistics)

    @property
    def target_magnitude(self) -> Tensor:
        """Normalised |target|, float32 (B, H, W). ValueError when predicting: the target is absent then."""
        return self.protocol.normalize(self._require_target().abs(), *self.target_statistics)

    @property
    def auxiliary_magnitude(self) -> Tensor:
        """Normalised |auxiliary|, float32 (B, H, W)."""
        return self.protocol.normalize(self.auxiliary.abs(), *self.auxiliary_statistics)

    @property
    def auxiliary_lr_magnitude(self) -> Tensor:
        """Normalised |auxiliary LR|, float32 (B, h, w)."""
        return self.protocol.normalize(self.auxiliary_lr.abs(), *self.auxiliary_statistics)

    @property
    def target_lr_complex(self) -> Tensor:
        """Target LR over the standard deviation of its magnitude, complex64 (B, h, w); no shift, the phase is kept."""
        return self.target_lr / self.target_statistics[1][:, None, None]

    @property
    def target_complex(self) -> Tensor:
        """Target over the same standard deviation, complex64 (B, H, W). ValueError when predicting."""
        return self._require_target() / self.target_statistics[1][:, None, None]

    @property
    def auxiliary_complex(self) -> Tensor:
        """Auxiliary over the standard deviation of its magnitude, complex64 (B, H, W)."""
        return self.auxiliary / self.auxiliary_statistics[1][:, None, None]

    @property
    def auxiliary_lr_complex(self) -> Tensor:
        """Auxiliary LR over the same standard deviation, complex64 (B, h, w)."""
        return self.auxiliary_lr / self.auxiliary_statistics[1][:, None, None]

    def denormalize_target(self, output: Tensor) -> Tensor:
        """A normalised target magnitude (B, H, W) back in physical units, cut at 0 where the protocol scores it so."""
        return self._physical(output, self.target_statistics)

    def denormalize_auxiliary(self, output: Tensor) -> Tensor:
        """A normalised auxiliary magnitude (B, H, W) back in physical units, cut at 0 where the protocol scores it so."""
        return self._physical(output, self.auxiliary_statistics)

    def denormalize_complex(self, output: Tensor) -> Tensor:
        """A complex target estimate (B, H, W), normalised as `target_lr_complex`, back in physical units."""
        return output * self.target_statistics[1][:, None, None]

    def map(
        self, *, lr: Callable[[Tensor], Tensor] | None = None, hr: Callable[[Tensor], Tensor] | None = None
    ) -> Self:
        """A function applied to every LR image (B, h, w), another to every HR image (B, H, W); what is absent stays absent.

        Statistics, ids and constants are kept.
        """
        changes: dict[Holds, Callable[[Any], Any]] = {}
        if lr is not None:
            changes["LR image"] = lr
        if hr is not None:
            changes["HR image"] = hr
        return self._changed(changes)

    def __getitem__(self, which: slice | Sequence[int]) -> Self:
        """The chosen slices with all that belongs to each, copied: ``batch[2:5]``, ``batch[[0, 2]]``.

        TypeError for a single number, as a batch has no slice without its axis; IndexError for a slice that is not there.
        """
        if isinstance(which, int):
            raise TypeError(f"batch[{which}]: take a batch of one slice by batch[[{which}]]")
        every = range(len(self))
        chosen = list(every[which]) if isinstance(which, slice) else [every[i] for i in which]

        def part(x: Tensor) -> Tensor:
            return x[chosen]

        return self._changed(
            {
                "LR image": part,
                "HR image": part,
                "statistics": lambda pair: tuple(part(x) for x in pair),
                "value per slice": lambda values: tuple(values[i] for i in chosen) if values else (),
            }
        )

    @staticmethod
    def stack(parts: Sequence[_Batch]) -> _Batch:
        """The slices of several batches as one, in order; the class is theirs.

        ValueError when there are none, when their images differ in size or their constants in value, and when some have what
        others lack.
        """
        if not parts:
            raise ValueError("stack needs at least one batch")
        kinds = {type(part) for part in parts}
        if len(kinds) > 1:
            raise ValueError(f"batches to stack are of several classes: {', '.join(sorted(k.__name__ for k in kinds))}")
        new = {name: _joined(name, holds, [getattr(p, name) for p in parts]) for name, holds in _layout(kinds.pop())}
        return replace(parts[0], **new)

    def crop(self, top: Tensor, left: Tensor, size: int) -> Self:
        """LR patches of ``size`` x ``size`` at (top, left), integer tensors (B,), with the HR patches they map to.

        A network that up-samples by s turns LR pixel i into HR pixels s*i .. s*i+s-1 of the slice, so that is the HR patch.
        The statistics stay those of whole slices.
        """
        s = self.scale
        return self.map(
            lr=lambda x: _patches(x, top, left, size), hr=lambda x: _patches(x, top * s, left * s, size * s)
        )

    def transform(self, *, mirror_rows: bool = False, mirror_columns: bool = False, transpose: bool = False) -> Self:
        """All images mirrored or transposed about the centre sample, which commutes with the degradation (see `kspace.reflect`)."""

        def apply(x: Tensor) -> Tensor:
            x = kspace.reflect(x, -2) if mirror_rows else x
            x = kspace.reflect(x, -1) if mirror_columns else x
            return kspace.transpose(x) if transpose else x

        return self.map(lr=apply, hr=apply)

    def without_target(self) -> Self:
        """The same batch as a method gets it when predicting.

        In joint super-resolution the full-resolution auxiliary is NaN then, so that a method which looks at it is found out.
        """
        return replace(
            self, target=None, auxiliary=torch.full_like(self.auxiliary, torch.nan) if self.joint else self.auxiliary
        )

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device; from page-locked memory (`pinned`) without waiting for the copy."""
        at_once = torch.device(device).type == "cuda"  # the other way, the copy would be read before it is there
        return self._every_tensor(lambda x: x.to(device, non_blocking=at_once))

    def pinned(self) -> Self:
        """The same batch in page-locked memory, from where a GPU copies by itself; or on it already. RuntimeError without a GPU."""
        return self._every_tensor(lambda x: x if x.is_cuda else x.pin_memory())

    def _every_tensor(self, change: Callable[[Tensor], Tensor]) -> Self:
        return self._changed(
            {"LR image": change, "HR image": change, "statistics": lambda pair: tuple(change(x) for x in pair)}
        )

    def _physical(self, output: Tensor, statistics: Statistics) -> Tensor:
        mean, std = statistics
        return self.protocol.scored_magnitude(output * std[:, None, None] + mean[:, None, None])

    def _changed(self, changes: Mapping[Holds, Callable[[Any], Any]]) -> Self:
        new = {}
        for name, holds in _layout(type(self)):
            value = getattr(self, name)
            if holds in changes and value is not None:
                new[name] = changes[holds](value)
        return replace(self, **new)

    def _require_target(self) -> Tensor:
        if self.target is None:
            raise ValueError("this batch has no target: it is for predicting")
        return self.target


_Batch = TypeVar("_Batch", bound=Batch)


def _layout(kind: type[Batch]) -> list[tuple[str, Holds]]:
    """Every field of a class of batches with what it holds. TypeError for a field without that."""
    return [(f.name, _held(kind, f)) for f in fields(kind)]


def _held(kind: type[Batch], of: Field[Any]) -> Holds:
    if "holds" not in of.metadata:
        raise TypeError(
            f"{kind.__name__}.{of.name} does not declare what it holds: give it field(metadata=LR_IMAGE), e.g."
        )
    held: Holds = of.metadata["holds"]
    return held


def _joined(name: str, holds: Holds, values: list[Any]) -> Any:
    """A field of stacked batches, from those of the parts."""
    if holds == "constant":
        if any(value != values[0] for value in values):
            raise ValueError(f"batches to stack differ in {name}")
        return values[0]
    absent = [value is None or value == () for value in values]
    if all(absent):
        return values[0]
    if any(absent):
        raise ValueError(f"some of the batches to stack have {name}, others do not")
    if holds == "value per slice":
        return tuple(one for value in values for one in value)
    if holds == "statistics":
        return tuple(torch.cat([value[i] for value in values]) for i in (0, 1))
    shapes = dict.fromkeys(tuple(value.shape[1:]) for value in values)
    if len(shapes) > 1:
        raise ValueError(f"batches to stack differ in the size of {name}: {', '.join(map(str, shapes))}")
    return torch.cat(values)


def _patches(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    rows = [
        x[i, int(t) : int(t) + size, int(u) : int(u) + size] for i, (t, u) in enumerate(zip(top, left, strict=True))
    ]
    return torch.stack(rows)
