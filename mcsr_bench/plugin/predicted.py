"""What a method predicts, batch by batch, held to the form that the contract gives it.

Whatever is scored, stressed or written to a file was predicted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method
from mcsr_bench.roles import ROLES
from mcsr_bench.system.precision import computing

_ON_A_GPU = 8


def slices_at_once(device: torch.device | str) -> int:
    """How many slices to predict together: 1 on a CPU, where more gain nothing and change the last bits; 8 on a GPU."""
    return 1 if torch.device(device).type == "cpu" else _ON_A_GPU


def predict_volume(
    method: Method,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    done: Callable[[int], None] | None = None,
) -> dict[str, NDArray[Any]]:
    """What a method predicts for the slices of a volume: by contrast, float32 or complex64 (S, H, W), in physical units.

    Magnitudes (float32) are as the batches' protocol scores them: cut at 0, or not.
    batches: whole slices in order, with or without target; one at a time is held. device: where the method is. done: called with
    the number of slices predicted so far. Raises ValueError, which names the method and the slices where they are known, when
    what it predicts is of the wrong shape, type or contrasts or is not finite, and without batches.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    first, slices = "", 0
    for batch in batches:
        given = batch.without_target().to(device)
        with computing("32", device):
            found = checked(method, method.predict(given), given)
        # Copies, as a method may give the same tensor again, filled with the next slices.
        images = {name: found[name].cpu().numpy().copy() for name in sorted(found, reverse=True)}
        kinds = " and ".join(f"{image.dtype} for the {name}" for name, image in images.items())
        first = first or kinds
        if kinds != first:
            raise ValueError(f"{method.card.name} predicted {kinds} {_where(given)}, but {first} for the slices before")
        for name, image in images.items():
            parts.setdefault(name, []).append(image)
        slices += len(batch)
        if done is not None:
            done(slices)
    if not parts:
        raise ValueError(f"{method.card.name}: predict needs at least one slice")
    return {name: np.concatenate(images) for name, images in parts.items()}


def checked(method: Method, output: object, batch: Batch) -> dict[str, Tensor]:
    """What `Method.predict` gave for a batch, by contrast: float32 or complex64 (B, H, W) on the device where it is.

    A magnitude is as the protocol scores it. Raises ValueError as `predict_volume` does.
    """
    name, out = method.card.name, {}
    for contrast, image in by_role(name, output).items():
        expected = (len(batch), *batch.hr_shape)
        if tuple(image.shape) != expected:
            raise ValueError(f"{name} predicted {tuple(image.shape)} for the {contrast}, not {expected}")
        if not (image.is_floating_point() or image.is_complex()):
            kind = str(image.dtype).removeprefix("torch.")
            raise ValueError(f"{name} predicted {kind} for the {contrast}, not real or complex floating-point numbers")
        image = image.detach().to(torch.complex64 if image.is_complex() else torch.float32)
        finite = image.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            where = _where(batch, [i for i, good in enumerate(finite.tolist()) if not good])
            raise ValueError(f"{name} predicted NaN or Inf for the {contrast} {where}".rstrip())
        out[contrast] = image if image.is_complex() else batch.protocol.scored_magnitude(image)
    return out


def by_role(name: str, output: object) -> dict[str, Tensor]:
    """The prediction of a method of that name by contrast, "target" and perhaps "auxiliary".

    ValueError for other contrasts, and for what is not a tensor.
    """
    named: dict[Any, Any] = output if isinstance(output, dict) else {ROLES[0]: output}
    if ROLES[0] not in named or not named.keys() <= set(ROLES):
        raise ValueError(
            f"{name} predicted the contrasts {sorted(map(str, named))}; 'target' must be there, 'auxiliary' may be"
        )
    for contrast, image in named.items():
        if not isinstance(image, Tensor):
            raise ValueError(f"{name} predicted a {type(image).__name__} for the {contrast}, not a tensor")
    return named


def magnitude(image: NDArray[Any]) -> NDArray[np.float64]:
    """The magnitude of a predicted image, float32 or complex64, of any shape: float64, taken in the image's own precision.

    A real image is a magnitude already, and is kept as it is.
    """
    if np.iscomplexobj(image):
        image = torch.from_numpy(np.ascontiguousarray(image)).abs().numpy()
    return np.asarray(image, np.float64)


def _where(batch: Batch, which: list[int] | None = None) -> str:
    """For a message: "in slice 3, 4 of p00-v0"; empty where the batch does not know its slices."""
    chosen = range(len(batch)) if which is None else which
    if not batch.slice_index:
        return ""
    text = f"in slice {', '.join(str(batch.slice_index[i]) for i in chosen)}"
    return f"{text} of {batch.volume_id[chosen[0]]}" if batch.volume_id else text
