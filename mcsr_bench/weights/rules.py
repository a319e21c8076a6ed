"""The rules by which tensors of a foreign checkpoint become those of a network here, and applying them.

Rules are data: ``released.toml`` in a method's folder, with the schema of `Released`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from mcsr_bench.errors import UserError, explain
from mcsr_bench.protocol import get_protocol
from mcsr_bench.system import files

State = dict[str, Tensor]


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rename(_Rules):
    r"""A tensor of theirs that is one of ours. The first rule that fits name, shape and scale counts."""

    theirs: re.Pattern[str]
    """The whole name in the checkpoint, a regular expression."""
    ours: str
    r"""The name in `Method.state`; ``\1`` is what the first parentheses of ``theirs`` matched."""
    shape: str = "*"
    """Only for shapes like this shell pattern, e.g. ``*x3x3x3``."""
    scales: tuple[int, ...] = ()
    """Only at these scales; empty: at all."""
    transform: Literal["", "grey_from_colours", "mean_output_channels", "append_constant"] = ""
    """What is computed of the tensor, see `TRANSFORMS`; empty: nothing."""
    needs: tuple[str, ...] = ()
    """Names of the checkpoint's tensors that the transform reads besides; where one is missing the rule does not hold."""
    amount: float = 0.0
    """What the transform takes, if it takes a number."""
    factor: float = 1.0
    """What the result is multiplied by."""
    plus: float = 0.0
    """What is then added."""
    why: str = ""
    """A sentence for the report, of a rule that changes values."""


class Dead(_Rules):
    """Tensors of theirs that ours has not: nothing that the output depends on."""

    theirs: re.Pattern[str]
    why: str
    buffer: bool = False
    """Not parameters: batch statistics, masks; counted by themselves."""


class FromShapes(_Rules):
    """A setting that the checkpoint's names and shapes tell, unless the user gives it."""

    name: str
    theirs: re.Pattern[str] | None = None
    axis: int | None = None
    """The setting is the size of this axis of the tensor with the name ``theirs``; None: how many names are like it."""
    by: str = ""
    """The name of a setting found before, in place of ``theirs``."""
    values: dict[str, Any] = {}
    """What the setting is for what was found, where it is not that itself; for anything else it is ``otherwise``."""
    otherwise: Any = None


class Released(_Rules):
    """``released.toml``: how a released checkpoint of a method maps to its network here."""

    preset: str
    protocol: str
    """By which its input is normalised, because it was trained so."""
    code: str
    """Whose checkpoints these are: a repository."""
    notes: tuple[str, ...] = ()
    """Sentences that a user of the weights should know."""
    containers: tuple[str, ...] = ()
    """Keys under which the state dict may be, besides ``state_dict``."""
    prefixes: tuple[str, ...] = ()
    """Prefixes that wrappers put before every name, besides DataParallel's ``module.``."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Settings that these checkpoints were trained with, over the preset's."""
    setting: tuple[FromShapes, ...] = ()
    rename: tuple[Rename, ...] = Field(min_length=1)
    dead: tuple[Dead, ...] = ()

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        return get_protocol(value).id


def read_rules(path: Path) -> Released:
    """The rules in a file. UserError with the offending key."""
    try:
        return Released.model_validate(files.read_toml(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _grey_from_colours(weight: Tensor, needed: list[Tensor], amount: float) -> Tensor:
    """The weight (out, 2, k, k) of a `nn.ShiftedConv` of grey images, from that of a convolution of colours (out, in, k, k).

    needed: what is added to each colour (in,), nothing if there is none; how it differs from its mean is kept, times ``amount``.
    """
    shift = amount * (needed[0] - needed[0].mean()) if needed else weight.new_zeros(weight.shape[1])
    return torch.stack((weight.sum(1), (weight * shift[:, None, None]).sum(1)), 1)


def _append_constant(weight: Tensor, _: list[Tensor], amount: float) -> Tensor:
    """The weight (out, in + 1, k, k) of a `nn.ShiftedConv`, from that of a convolution (out, in, k, k).

    amount: what is added to every channel of its input.
    """
    return torch.cat((weight, amount * weight.sum(1, keepdim=True)), 1)


TRANSFORMS: dict[str, Callable[[Tensor, list[Tensor], float], Tensor]] = {
    "": lambda tensor, *_: tensor,
    "mean_output_channels": lambda tensor, *_: tensor.mean(0, keepdim=True),
    "grey_from_colours": _grey_from_colours,
    "append_constant": _append_constant,
}
"""The arithmetic that rules may name: of a tensor, those that it ``needs``, and an ``amount``."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a report."""

    name: str
    """Theirs; of a missing one ours."""
    shape: str
    """E.g. ``64x1x3x3``, or ``scalar``."""
    ours: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.shape}{', ' if self.reason else ''}{self.reason})"


@dataclass(frozen=True)
class Matching:
    """How the tensors of a checkpoint and those of a network at one scale pair up."""

    scale: int
    matched: tuple[Entry, ...]
    """``reason`` names the arithmetic that is done, if any."""
    dead: tuple[Entry, ...]
    """In the checkpoint, and rightly not in the network; ``reason`` explains it."""
    missing: tuple[Entry, ...]
    """In the network, not in the checkpoint."""
    unexpected: tuple[Entry, ...]
    """In the checkpoint, and without a use here; ``reason`` explains it."""
    values: dict[str, int]
    """How many numbers of the file they hold: matched_parameters, matched_buffers, dead_parameters, dead_buffers."""
    rules: dict[str, Rename] = field(default_factory=dict, repr=False)
    """By the name of ours, the rule that gives it."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left over on either side."""
        return not (self.missing or self.unexpected)

    @property
    def left_over(self) -> int:
        """How many tensors of either side have no counterpart."""
        return len(self.missing) + len(self.unexpected)


def match(
    state: Mapping[str, Tensor], ours: Mapping[str, Tensor], buffers: Collection[str], rules: Released, scale: int
) -> Matching:
    """Pair the tensors of a checkpoint with those of a network at a scale; names, shapes and types are looked at, no values.

    buffers: which of ours are not parameters.
    """
    shapes = {name: tensor.to("meta") for name, tensor in state.items()}
    matched: dict[str, Entry] = {}
    applied: dict[str, Rename] = {}
    dead: list[Entry] = []
    unexpected: list[Entry] = []
    values = dict.fromkeys(("matched_parameters", "matched_buffers", "dead_parameters", "dead_buffers"), 0)
    for name, tensor in state.items():
        shape = shape_text(tensor)
        rule = next((r for r in rules.rename if _holds(r, name, shape, scale, state)), None)
        if rule is None:
            skipped = next((r for r in rules.dead if r.theirs.fullmatch(name)), None)
            if skipped is None:
                unexpected.append(Entry(name, shape, reason="unknown name"))
            else:
                dead.append(Entry(name, shape, reason=skipped.why))
                values["dead_buffers" if skipped.buffer else "dead_parameters"] += tensor.numel()
            continue
        target = our_name(rule, name)
        reason = _misfit(rule, name, target, shapes, ours, matched)
        if reason:
            unexpected.append(Entry(name, shape, target, reason))
            continue
        matched[target] = Entry(name, shape, target, _arithmetic(rule))
        applied[target] = rule
        values["matched_buffers" if target in buffers else "matched_parameters"] += tensor.numel()
    missing = tuple(Entry(name, shape_text(tensor)) for name, tensor in ours.items() if name not in matched)
    return Matching(scale, tuple(matched.values()), tuple(dead), missing, tuple(unexpected), values, applied)


def known_names(rules: Released, names: Collection[str]) -> int:
    """How many names a method's rules know, at any scale."""
    patterns = [rule.theirs for rule in rules.rename] + [rule.theirs for rule in rules.dead]
    return sum(any(pattern.fullmatch(name) for pattern in patterns) for name in names)


def our_name(rule: Rename, name: str) -> str:
    """What a rule makes of a name that it fits."""
    found = rule.theirs.fullmatch(name)
    assert found is not None
    return found.expand(rule.ours)


def computed(rule: Rename, name: str, state: Mapping[str, Tensor]) -> Tensor:
    """The tensor that a rule makes of the one of that name."""
    out = TRANSFORMS[rule.transform](state[name], [state[needed] for needed in rule.needs], rule.amount)
    return out if (rule.factor, rule.plus) == (1, 0) else out * rule.factor + rule.plus


def settings_from_shapes(rules: Released, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings that a checkpoint's names and shapes tell; those that they do not are left to the preset."""
    found: dict[str, Any] = {}
    for rule in rules.setting:
        value = found.get(rule.by) if rule.by else _told(rule, state)
        if value is not None:
            found[rule.name] = rule.values.get(str(value), rule.otherwise) if rule.values else value
    return found


def _told(rule: FromShapes, state: Mapping[str, Tensor]) -> int | None:
    """The number that a checkpoint's names or shapes give for a rule; None: nothing in it is like that."""
    assert rule.theirs is not None
    like = [tensor for name, tensor in state.items() if rule.theirs.fullmatch(name)]
    if rule.axis is None:
        return len(like) or None
    return like[0].shape[rule.axis] if like and rule.axis < like[0].ndim else None


def shape_text(tensor: Tensor) -> str:
    """E.g. ``64x1x3x3``; ``scalar`` for no axes."""
    return "x".join(map(str, tensor.shape)) or "scalar"


def _holds(rule: Rename, name: str, shape: str, scale: int, state: Mapping[str, Tensor]) -> bool:
    if rule.scales and scale not in rule.scales:
        return False
    if rule.theirs.fullmatch(name) is None or not fnmatchcase(shape, rule.shape):
        return False
    return all(needed in state for needed in rule.needs)


def _misfit(
    rule: Rename,
    name: str,
    target: str,
    shapes: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
    matched: Mapping[str, Entry],
) -> str:
    """Why a tensor cannot be what a rule makes of it; empty: it can."""
    if target not in ours:
        return f"no {target} here"
    if target in matched:
        return f"{target} is {matched[target].name} already"
    try:
        found = computed(rule, name, shapes)
    except (RuntimeError, ValueError, IndexError) as error:
        return f"cannot be transformed: {str(error).splitlines()[0]}"
    if found.shape != ours[target].shape:
        return f"{target} has {shape_text(ours[target])} here"
    if found.is_floating_point() != ours[target].is_floating_point() or found.is_complex():
        return f"of type {found.dtype}, where {target} has {ours[target].dtype}"
    return ""


def _arithmetic(rule: Rename) -> str:
    named = f"{rule.transform} {rule.amount:g}" if rule.amount else rule.transform
    times = f"times {rule.factor:g}" if rule.factor != 1 else ""
    plus = f"plus {rule.plus:g}" if rule.plus else ""
    return ", ".join(part for part in (named, times, plus) if part)
