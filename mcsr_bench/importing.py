"""Floor 3: weights that the authors of a method trained with their own code, as a bundle of ours.

The names inside such a checkpoint are mapped to ours by rules that are data: ``released.toml`` in the method's folder, with the
schema of `Released`. Nothing of the authors' code is needed or run. See `import_weights`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from mcsr_bench import files
from mcsr_bench.errors import UserError
from mcsr_bench.loading import load_method
from mcsr_bench.method import Method
from mcsr_bench.protocol import get_protocol
from mcsr_bench.registry import explain, methods
from mcsr_bench.weights import WEIGHTS, BundleInfo, read_foreign, save_tensors

RULES, REPORT = "released.toml", "import.json"

State = dict[str, Tensor]


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rename(_Rules):
    """A tensor of theirs that is one of ours. The first rule that fits a name and shape counts."""

    theirs: re.Pattern[str]
    """The whole name in the checkpoint, a regular expression."""
    ours: str
    """The name in `Method.state`; \\1 is what the first parentheses of ``theirs`` matched."""
    shape: str = "*"
    """Only for shapes like this shell pattern, e.g. ``*x3x3x3``."""
    scales: tuple[int, ...] = ()
    """Only at these scales; empty: at all."""
    transform: Literal["", "sum_input_channels", "mean_output_channels", "add_shift_per_channel"] = ""
    """What is computed of the tensor, see `TRANSFORMS`; empty: nothing."""
    needs: tuple[str, ...] = ()
    """Names of the checkpoint's tensors that the transform reads besides. Where one is missing the rule does not hold."""
    factor: float = 1.0
    """What the result is multiplied by."""
    why: str = ""
    """A sentence for the report, of a rule that changes values."""


class Dead(_Rules):
    """Tensors of theirs that ours has not: nothing that the output depends on."""

    theirs: re.Pattern[str]
    why: str
    buffer: bool = False
    """Not a parameter: batch statistics, masks; counted by themselves."""


class FromShapes(_Rules):
    """A setting that the checkpoint's shapes tell, unless the user gives it."""

    name: str
    theirs: re.Pattern[str] | None = None
    axis: int | None = None
    """The setting is the size of this axis of the one tensor with the name ``theirs``; None: how many names are like it."""
    by: str = ""
    """The name of a setting found before: the value is that of ``values``, else ``otherwise``."""
    values: dict[str, Any] = {}
    otherwise: Any = None


class Released(_Rules):
    """``released.toml``: how a released checkpoint of a method maps to its network here."""

    preset: str
    protocol: str
    """By which its input is to be normalised, for it was trained so."""
    code: str
    """Whose checkpoints these are, e.g. a repository."""
    note: str = ""
    """A sentence for the report."""
    containers: tuple[str, ...] = ()
    """Keys under which the state dict may lie, besides ``state_dict``."""
    prefixes: tuple[str, ...] = ()
    """Prefixes that wrappers put before every name, besides DataParallel's ``module.``."""
    setting: tuple[FromShapes, ...] = ()
    rename: tuple[Rename, ...] = Field(min_length=1)
    dead: tuple[Dead, ...] = ()

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        return get_protocol(value).id


def _add_shift_per_channel(bias: Tensor, needed: list[Tensor]) -> Tensor:
    """The bias of a convolution whose input channels lose their own constants, where they had lost one common constant before.

    needed: the weight (out, in, k, k) and the constants (in,) that a layer before it adds. Exact but for the zero padding.
    """
    weight, shift = needed
    return bias + weight.sum((2, 3)) @ (shift - shift.mean())


TRANSFORMS: dict[str, Callable[[Tensor, list[Tensor]], Tensor]] = {
    "": lambda tensor, _: tensor,
    "sum_input_channels": lambda tensor, _: tensor.sum(1, keepdim=True),
    "mean_output_channels": lambda tensor, _: tensor.mean(0, keepdim=True),
    "add_shift_per_channel": _add_shift_per_channel,
}
"""The arithmetic that rules may name: of a tensor and those it ``needs``."""


@dataclass(frozen=True)
class Tensors:
    """Names and shapes for a report."""

    name: str
    """Theirs; of a missing one ours."""
    shape: str
    """E.g. ``64x1x3x3``, or ``scalar``."""
    ours: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.shape}{'; ' if self.reason else ''}{self.reason})"


@dataclass(frozen=True)
class Matching:
    """How the tensors of a checkpoint and those of a network at one scale pair up."""

    scale: int
    matched: tuple[Tensors, ...]
    """``reason`` names the arithmetic done, if any."""
    dead: tuple[Tensors, ...]
    """In the checkpoint, and rightly not in the network; ``reason`` says why."""
    missing: tuple[Tensors, ...]
    """In the network, not in the checkpoint."""
    unexpected: tuple[Tensors, ...]
    """In the checkpoint, of no use, or of another shape; ``reason`` says so."""
    values: dict[str, int]
    """How many numbers: ``matched_parameters``, ``dead_parameters``, ``dead_buffers`` ..."""
    rules: dict[str, Rename] = field(default_factory=dict, repr=False)
    """By the name of ours, the rule that gives it."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left over on either side."""
        return not (self.missing or self.unexpected)


@dataclass(frozen=True)
class ImportOutcome:
    """What was imported, and what of the file was not."""

    method: str
    scale: int
    preset: str
    protocol: str
    settings: dict[str, Any]
    bundle: Path
    file: Path
    sha256: str
    matching: Matching
    notes: tuple[str, ...]
    """Sentences that a user of these weights should know."""

    def lines(self) -> list[str]:
        """For people."""
        m = self.matching
        counts = m.values
        lines = [
            f"{self.method} at {self.scale}x from {self.file.name}: {len(m.matched)} tensors matched "
            f"({counts['matched_parameters']:,} parameters), {len(m.dead)} skipped as dead "
            f"({counts['dead_parameters']:,} parameters, {counts['dead_buffers']:,} values of buffers)"
        ]
        for title, which in (("missing, left as initialised", m.missing), ("not used", m.unexpected)):
            lines += [f"{title}: {tensor}" for tensor in which]
        return [*lines, *self.notes]

    def report(self) -> dict[str, Any]:
        """What ``import.json`` holds."""
        m = self.matching
        listed = {name: [asdict(t) for t in getattr(m, name)] for name in ("matched", "dead", "missing", "unexpected")}
        return {
            "schema_version": 1,
            "method": self.method,
            "scale": self.scale,
            "preset": self.preset,
            "protocol": self.protocol,
            "settings": self.settings,
            "origin": {"file": self.file.name, "sha256": self.sha256},
            "values": m.values,
            "notes": list(self.notes),
            **listed,
        }


class MismatchError(UserError):
    """A checkpoint that does not fit; `matching` has everything that is left over on either side, the sentence its beginning."""

    def __init__(self, message: str, matching: Matching) -> None:
        super().__init__(message)
        self.matching = matching


def released(method: str) -> Released:
    """The rules of a method. UserError when it has none, or when they cannot be read."""
    methods().card(method)
    path = _rules_file(method)
    if not path.is_file():
        have = ", ".join(name for name in methods().names() if _rules_file(name).is_file())
        raise UserError(f"import-weights {method}: there are no rules for a released checkpoint of it; there are for: {have}")
    try:
        return Released.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def import_weights(
    method: str,
    file: Path,
    to: Path,
    *,
    scale: int | None = None,
    partial: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> ImportOutcome:
    """Read a checkpoint that the authors' code wrote and make a bundle of it: a new folder ``to``, made only on success.

    file: safetensors, or what torch saved: a state dict, or one wrapped by Lightning (``{"state_dict": ...}``, prefixed names),
    DataParallel (``module.``), or under a key that the method's rules know. scale: found from the shapes where it is not given.
    partial: what has no counterpart in the file stays as initialised (seed 0), and what has none here is left out. settings: of
    the method, over those of the rules and those that the shapes tell.

    The folder holds ``weights.safetensors``, with a header (`mcsr_bench.weights.BundleInfo`), and ``import.json``, the report.
    Raises UserError, one sentence, for a file that cannot be read safely or does not fit, an unknown method, scale or setting, or
    a folder that is there.
    """
    rules = released(method)
    file, to = Path(file), Path(to)
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UserError(f"--to {to}: is there already; a bundle is written to a new folder")
    state, outside = state_dict(file, read_foreign(file), rules)
    chosen = {**settings_from_shapes(rules, state), **dict(settings or {})}
    matching = _best(method, file, state, rules, scale, chosen)
    if not matching.complete and not partial:
        raise _mismatch(method, file, state, rules, matching, chosen, given=scale)
    loaded = load_method(method, matching.scale, rules.preset, **chosen)
    tensors = dict(loaded.state())
    for pair in matching.matched:
        found = _computed(matching.rules[pair.ours], pair.name, state)
        if not torch.isfinite(found).all():
            raise UserError(f"{file}: tensor '{pair.name}' holds NaN or Inf")
        tensors[pair.ours] = found.to(tensors[pair.ours].dtype)
    loaded.load_state(tensors)
    outcome = ImportOutcome(
        method=method,
        scale=matching.scale,
        preset=rules.preset,
        protocol=rules.protocol,
        settings=loaded.settings.model_dump(mode="json"),
        bundle=to,
        file=file,
        sha256=files.file_digest(file),
        matching=matching,
        notes=_notes(rules, matching, outside),
    )
    _write(outcome, loaded, rules)
    return outcome


def state_dict(file: Path, content: Any, rules: Released) -> tuple[State, list[str]]:
    """The tensors of the network in a checkpoint's content, wrappers and prefixes taken off, and the names beside the network.

    Raises UserError when there are none.
    """
    for key in (*rules.containers, "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: holds a {type(content).__name__}, not tensors by name")
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(repr(key) for key in list(content)[:5])
        raise UserError(f"{file}: holds no tensors by name (its keys are {keys or 'none'})")
    outside: list[str] = []
    while True:
        if all(name.startswith("module.") for name in state):
            state = _without(state, "module.")
            continue
        prefix = next((p for p in rules.prefixes if any(name.startswith(p) for name in state)), None)
        if prefix is None:
            return state, outside
        # What a Lightning module has beside the network, e.g. the sums of its metrics.
        outside += [name for name in state if not name.startswith(prefix)]
        state = _without(state, prefix)


def settings_from_shapes(rules: Released, state: State) -> dict[str, Any]:
    """The settings that a checkpoint's names and shapes tell; those that they do not are left to the preset."""
    found: dict[str, Any] = {}
    for rule in rules.setting:
        if rule.by:
            if rule.by in found:
                found[rule.name] = rule.values.get(str(found[rule.by]), rule.otherwise)
            continue
        assert rule.theirs is not None
        like = [tensor for name, tensor in state.items() if rule.theirs.fullmatch(name)]
        if like and rule.axis is None:
            found[rule.name] = len(like)
        elif like and rule.axis is not None and rule.axis < like[0].ndim:
            found[rule.name] = like[0].shape[rule.axis]
    return found


def match(state: State, ours: State, rules: Released, scale: int) -> Matching:
    """Pair the tensors of a checkpoint with those of a network at a scale, by the rules; shapes alone are looked at."""
    shapes = {name: tensor.to("meta") for name, tensor in state.items()}
    matched: dict[str, Tensors] = {}
    applied: dict[str, Rename] = {}
    dead: list[Tensors] = []
    unexpected: list[Tensors] = []
    values = dict.fromkeys(("matched_parameters", "matched_buffers", "dead_parameters", "dead_buffers"), 0)
    for name, tensor in state.items():
        shape = shape_text(tensor)
        rule = next((r for r in rules.rename if _holds(r, name, shape, scale, state)), None)
        if rule is None:
            skipped = next((r for r in rules.dead if r.theirs.fullmatch(name)), None)
            if skipped is None:
                unexpected.append(Tensors(name, shape, reason="unknown"))
            else:
                dead.append(Tensors(name, shape, reason=skipped.why))
                values["dead_buffers" if skipped.buffer else "dead_parameters"] += tensor.numel()
            continue
        target = _target(rule, name)
        reason = _misfit(rule, name, target, shapes, ours, matched)
        if reason:
            unexpected.append(Tensors(name, shape, target, reason))
            continue
        matched[target] = Tensors(name, shape, target, _arithmetic(rule))
        applied[target] = rule
        values["matched_buffers" if _is_buffer(target) else "matched_parameters"] += ours[target].numel()
    missing = tuple(Tensors(name, shape_text(tensor)) for name, tensor in ours.items() if name not in matched)
    return Matching(scale, tuple(matched.values()), tuple(dead), missing, tuple(unexpected), values, applied)


def shape_text(tensor: Tensor) -> str:
    """E.g. ``64x1x3x3``; ``scalar`` for no axes."""
    return "x".join(map(str, tensor.shape)) or "scalar"
