"""Floor 2: the weights of a method, out of a bundle and into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mcsr_bench.errors import UserError
from mcsr_bench.method import Method
from mcsr_bench.weights import load_tensors, save_tensors


def load_weights(method: Method, path: Path, device: torch.device | str = "cpu") -> None:
    """Give a method the weights of a bundle. UserError when the file is not readable or does not fit the network."""
    tensors, _ = load_tensors(path, device)
    try:
        method.load_state(tensors)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: these weights do not fit: {str(error).splitlines()[0]}") from None


def save_weights(method: Method, path: Path, info: dict[str, Any]) -> None:
    """Write a method's weights; info: what identifies them."""
    save_tensors(path, method.state(), info)
