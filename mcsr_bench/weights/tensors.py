"""Tensors in safetensors files whose bytes depend on their content alone; checkpoints of other programs, read safely.

The header of a bundle's weights gives the method, scale and settings that they belong to.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mcsr_bench.errors import DamagedFileError, UserError, errno_of, unread
from mcsr_bench.plugin.method import Method
from mcsr_bench.system import files
from mcsr_bench.weights.archives import check_archive

_INFO = "mcsr-bench"
_CHECKSUM = "sha256"
_BESIDE_TENSORS = 1 << 24
"""Bytes of names, shapes and notes that are believed."""


class BundleInfo(BaseModel):
    """What is in the header of a bundle's weights: enough to build the method and to use it as it was trained."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: str
    scale: int
    preset: str
    settings: dict[str, Any]
    """Of the method, all of them."""
    protocol: str
    """The id of the protocol by which its input is normalised."""
    key: str = ""
    """Of the trial that trained them, see `mcsr_bench.experiment.trial`."""
    origin: dict[str, str] = {}
    """Of imported weights: ``file``, ``sha256``, ``code``. Empty: trained here."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able note in one move, with a checksum of both that `load_tensors` compares.

    The format keeps its metadata in random order, so there is one key only, with sorted JSON in it: equal content, equal bytes.
    """
    with files.replacing(path) as temporary:
        _write(temporary, tensors, info)


def _write(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    own = {name: tensors[name].detach().to("cpu").contiguous().clone() for name in sorted(tensors)}
    note = dict(info) | {_CHECKSUM: _checksum(own, info)}
    with _system_errors(path):
        save_file(own, path, metadata={_INFO: files.canonical_json(note)})


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """The errors of the system, such as of a full disk, that safetensors has in its texts, as OSErrors."""
    try:
        yield
    except SafetensorError as error:
        if number := errno_of(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote. UserError when the file is missing, damaged or another program's."""
    tensors, metadata = _safetensors(path, "cpu")
    if _INFO not in metadata:
        raise UserError(f"{path}: not written by mcsr-bench (no '{_INFO}' metadata)")
    try:
        info = files.parse_json(metadata[_INFO])
        checksum = info.pop(_CHECKSUM, None)
    except (ValueError, AttributeError, TypeError):
        raise DamagedFileError(path, "is damaged: its header is not readable") from None
    if checksum is not None and checksum != _checksum(tensors, info):
        raise DamagedFileError(path, "is damaged: its tensors or its header are not those that were written")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, info


def _checksum(tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> str:
    """SHA-256 of names, shapes, types and values of tensors on the CPU and of a note."""
    seen = hashlib.sha256(files.canonical_json(dict(info)).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        seen.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        seen.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return seen.hexdigest()


def load_weights(method: Method, path: Path, device: torch.device | str = "cpu", key: str = "") -> None:
    """Give a method the weights of a bundle; key: of the trial that they must be of, "" for any.

    UserError when the file is not readable, of another trial or does not fit the network.
    """
    _check_size(method, path)
    tensors, info = load_tensors(path, device)
    if key and info.get("key", key) != key:
        raise DamagedFileError(path, f"holds the weights of another trial ({info['key']}, not {key})")
    try:
        method.load_state(tensors)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: these weights do not fit: {str(error).splitlines()[0]}") from None


def _check_size(method: Method, path: Path) -> None:
    """DamagedFileError for a file that holds much more than the network: a file may come from anyone, and would fill the memory."""
    own = sum(tensor.nbytes for tensor in method.state().values())
    if path.is_file() and (size := path.stat().st_size) > 2 * own + _BESIDE_TENSORS:
        raise DamagedFileError(path, f"has {size} bytes, and the network has {own}")


def save_weights(method: Method, path: Path, info: dict[str, Any]) -> None:
    """Write a method's weights into a file whose name the caller gives, and moves; info: what identifies them.

    A temporary file beside a temporary one would stay for ever, if it were there when its process is killed.
    """
    _write(path, method.state(), info)


def read_info(path: Path) -> BundleInfo | None:
    """The header of a bundle's weights; None where it has less than is needed. UserError when the file cannot be read."""
    try:
        path.open("rb").close()  # safetensors has "no such file" for whatever keeps it from opening one
        _check_header(path)
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unread(error, path) or UserError(f"{path}: cannot be read as safetensors: {error}") from None
    try:
        return BundleInfo.model_validate(files.parse_json(metadata.get(_INFO, "{}")))
    except ValueError:  # not JSON, or not an info
        return None


def read_foreign(path: Path, containers: Sequence[str] = ()) -> Any:
    """The content of a checkpoint that another program wrote: tensors in mappings and lists, on the CPU.

    Reads safetensors, and what ``torch.save`` wrote as far as ``torch.load(weights_only=True)`` takes it: code is never unpickled.
    Raises UserError when the file is missing, damaged, our own, or holds objects besides tensors and plain values; the sentence
    then has the three lines of Python that extract the tensors where the user trusts the file. containers: keys under which they
    may be, besides ``state_dict``.
    """
    if what := files.not_a_file(path):
        raise UserError(f"{path}: {what}")
    if path.suffix == ".safetensors":
        tensors, metadata = _safetensors(path, "cpu")
        if _INFO in metadata:
            raise UserError(f"{path}: these weights are mcsr-bench's own; give their folder to predict --from")
        return tensors
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript archives: the error below describes it
            check_archive(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a file that may be anything: torch has no one exception for it
        if known := unread(error, path):
            raise known from None
        raise UserError(*_refusal(path, error, containers)) from None
    for name, tensor in _tensors_in(content):
        if kind := _unusable(tensor):
            raise UserError(
                f"{path}: the tensor {name or 'in it'} is {kind}; only dense tensors with values are imported"
            )
    return content


def _tensors_in(content: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in mappings and lists, with the name under which each is kept. What is in itself, or in many, is seen once."""
    waiting, seen = [("", content)], set()
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            waiting += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(name, inner) for inner in value]


def _unusable(tensor: Tensor) -> str:
    """What a tensor is whose values cannot be read as a dense array, or ""."""
    if tensor.is_meta:
        return "without values (on the meta device)"
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"not dense ({str(tensor.layout).removeprefix('torch.')})"
    if not tensor.is_quantized and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "larger than the values that are stored for it"
    return f"quantized ({str(tensor.dtype).removeprefix('torch.')})" if tensor.is_quantized else ""


def _safetensors(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        path.open("rb").close()  # as above
        _check_header(path)
        with safe_open(path, framework="pt", device=str(device)) as handle:
            metadata = handle.metadata() or {}
            return {name: handle.get_tensor(name) for name in handle.keys()}, metadata  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise unread(error, path) or UserError(f"{path}: cannot be read as safetensors: {error}") from None


def _check_header(path: Path) -> None:
    """OSError for a safetensors file whose header is larger than names and shapes of tensors need."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
    if _BESIDE_TENSORS < length <= path.stat().st_size:  # beyond the file: truncated, as the library says
        raise OSError(f"its header has {length} bytes")


def _refusal(path: Path, error: Exception, containers: Sequence[str]) -> tuple[str, ...]:
    """Why torch did not read a file: a sentence, and lines of code where they help."""
    message = str(error)
    found = re.search(r"GLOBAL\s+([\w.]+)", message)
    script = "TorchScript" in message
    if not (found or script):
        reason = message.splitlines()[0].split(". ")[0][:120] if message else type(error).__name__
        if "weights only" in reason.lower():
            reason = "unexpected first bytes"
        return (f"{path}: not a PyTorch checkpoint, or truncated ({reason})",)
    what = "a TorchScript archive" if script else f"Python objects besides tensors ({found[1] if found else ''})"
    load = f'torch.jit.load({str(path)!r}, map_location="cpu").state_dict()'
    if not script:
        load = f'torch.load({str(path)!r}, map_location="cpu", weights_only=False)'
    tensors = "state"
    for key in ("state_dict", *containers):
        tensors = f'state.get("{key}", {tensors})'
    return (
        f"{path}: holds {what}, and code in files is never run here; if you trust where it comes from, take its tensors out with "
        "these three lines of Python, where the program that wrote it is installed, and import tensors.pt:",
        "    import torch",
        f"    state = {load}",
        f'    torch.save({{k: v for k, v in {tensors}.items() if torch.is_tensor(v)}}, "tensors.pt")',
    )
