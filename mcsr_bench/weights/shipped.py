"""Weights that come with a method's plugin: seed 0 of preset ``small`` on brain-sim, as float16 in ``weights/`` beside the card.

The card has the SHA-256 of each file, and the file's header the command that trained it. Of the trial that trained them, the scores
are those of the rounded weights (docs/shipped-weights.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.plugin.loading import SHIPPED, check_method
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import DataRecord
from mcsr_bench.system.digests import digest_once
from mcsr_bench.weights.tensors import BundleInfo, load_weights, read_info

VARIANT: Final = "shipped"
"""Of trials with such weights: ``METHOD@shipped/seed0``."""
SEED: Final = 0
"""The only one that is shipped."""


PROTOCOL: Final = "mcsr-1"
"""Under which they were trained."""


def shipped_file(name: str, scale: int) -> Path:
    """The file of a method's weights at a scale. UserError where it has none, DamagedFileError where it is not the card's."""
    card = methods().card(name)
    expected = card.shipped.get(f"x{scale}")
    if expected is None:
        there = ", ".join(f"{at.removeprefix('x')}x" for at in card.shipped)
        raise UserError(
            f"--pretrained: method '{name}' has no weights of its own at {scale}x"
            + (f", only at {there}" if there else "; leave it out, or train it in another --out and `report` both")
        )
    path = methods().folder(name) / "weights" / f"x{scale}.safetensors"
    if not path.is_file():
        raise DamagedFileError(
            path, "is missing, and the card says that the method has weights; install mcsr-bench again"
        )
    if (found := digest_once(path)) != expected:
        raise DamagedFileError(
            path, f"is damaged or another file's (SHA-256 {found[:12]}, the card says {expected[:12]})"
        )
    return path


def shipped_digest(name: str, scale: int, settings: Mapping[str, Any]) -> str:
    """The SHA-256 of the weights that a trial with these settings (all of them) uses; "" for a method without training.

    UserError where there are none, or for other settings than those of preset small.
    """
    if not methods().card(name).trains:
        return ""
    path = shipped_file(name, scale)
    standard = check_method(name, scale, SHIPPED, {}).model_dump(mode="json")
    if other := [key for key, value in standard.items() if settings.get(key) != value]:
        raise UserError(
            f"--set {name}.{other[0]}={settings.get(other[0])}: the weights of --pretrained are of preset {SHIPPED} as it is "
            f"({other[0]}={standard[other[0]]})"
        )
    return digest_once(path)


def load_shipped(method: Method) -> None:
    """Give a method of preset small the weights that come with it. UserError where there are none."""
    if method.card.trains:
        name = method.card.name
        shipped_digest(name, method.scale, method.settings.model_dump(mode="json"))
        load_weights(method, shipped_file(name, method.scale))


def shipped_info(name: str, scale: int) -> BundleInfo:
    """What a method's weights are of; of a method without training, what it would be. UserError where there are none."""
    if not methods().card(name).trains:
        values = check_method(name, scale, SHIPPED, {}).model_dump(mode="json")
        return BundleInfo(method=name, scale=scale, preset=SHIPPED, settings=values, protocol=PROTOCOL)
    path = shipped_file(name, scale)
    info = read_info(path)
    if info is None or (info.method, info.scale, info.preset) != (name, scale, SHIPPED):
        raise DamagedFileError(path, f"are not the weights of {name} at {scale}x")
    return info


def check_use(name: str, scale: int, protocol: str, data: DataRecord) -> None:
    """UserError where the weights were trained under another protocol, or on this data set with another split.

    With another split they may have seen its test patients.
    """
    info = shipped_info(name, scale)
    origin = info.origin
    if protocol != info.protocol:
        raise UserError(f"--protocol {protocol}: the weights of --pretrained were trained under {info.protocol}")
    if data.name == origin.get("dataset") and data.split_hash != origin.get("split_hash"):
        raise UserError(
            f"--pretrained: the weights of {name} were trained on {data.name} with its own split; with another one they may have "
            "seen the test patients"
        )


def shipped_notes(name: str, scale: int) -> list[str]:
    """What a reader of scores of these weights must know."""
    return [
        f"its weights came with it: seed {SEED} of preset {SHIPPED}, trained on {shipped_info(name, scale).origin['dataset']}"
    ]


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers as float16, whole numbers as they are. ValueError for a value that float16 does not have."""
    out = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    if lost := [name for name, tensor in out.items() if not bool(torch.isfinite(tensor).all())]:
        raise ValueError(f"{lost[0]} has values beyond float16")
    return out
