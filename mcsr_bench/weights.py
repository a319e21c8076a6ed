"""Floor 2: tensors in safetensors files whose bytes depend on their content alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mcsr_bench import files
from mcsr_bench.errors import UserError

_INFO = "mcsr-bench"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able note in one move.

    The format keeps its metadata in random order, so there is one key only, with sorted JSON in it: equal content, equal bytes.
    """
    own = {name: tensors[name].detach().to("cpu").contiguous().clone() for name in sorted(tensors)}
    with files.replacing(path) as temporary:
        save_file(own, temporary, metadata={_INFO: files.canonical_json(dict(info))})


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote. UserError when the file is missing, damaged or another program's."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}") from None
    if _INFO not in metadata:
        raise UserError(f"{path}: not written by mcsr-bench (no '{_INFO}' metadata)")
    return tensors, json.loads(metadata[_INFO])
