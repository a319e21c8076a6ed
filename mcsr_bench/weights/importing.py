"""Weights that the authors of a method trained with their own code, as a bundle of ours.

Names and values are mapped by rules that are data (``released.toml`` in the method's folder, see `weights.rules`); nothing of
the authors' code is needed or run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.loading import check_method, method_of
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods, scoped_plugins
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files
from mcsr_bench.weights.rules import (
    Entry,
    Matching,
    Released,
    State,
    computed,
    known_names,
    match,
    read_rules,
    settings_from_shapes,
)
from mcsr_bench.weights.tensors import BundleInfo, read_foreign, save_tensors

RULES = "released.toml"

_SHOWN = 3
"""How many tensors of a kind the sentence of a refusal names."""


@dataclass(frozen=True)
class ImportOutcome:
    """What was imported, and what of the file was not."""

    method: str
    scale: int
    preset: str
    protocol: str
    settings: dict[str, Any]
    """Of the method, all of them."""
    bundle: Path
    origin: dict[str, str]
    """``file`` (its name), ``sha256``, ``code`` (whose checkpoints the rules are for)."""
    matching: Matching
    outside: tuple[str, ...]
    """Names in the file that are not part of the network, e.g. the metrics of a Lightning module."""
    notes: tuple[str, ...]
    """Sentences that a user of these weights should know."""

    def lines(self) -> list[str]:
        """For people: what was taken, what was left and why, what to know."""
        m, counts = self.matching, self.matching.values
        lines = [
            f"{self.method} at {self.scale}x from {self.origin['file']}: {len(m.matched)} tensors "
            f"({counts['matched_parameters']:,} parameters, {counts['matched_buffers']:,} values of buffers)",
            f"skipped as dead: {len(m.dead)} tensors ({counts['dead_parameters']:,} parameters, "
            f"{counts['dead_buffers']:,} values of buffers)",
        ]
        by_reason: dict[str, int] = {}
        for entry in m.dead:
            by_reason[entry.reason] = by_reason.get(entry.reason, 0) + 1
        lines += [f"- {count} of them: {reason}" for reason, count in by_reason.items()]
        lines += [f"missing, left as initialised: {entry}" for entry in m.missing]
        lines += [f"not used: {entry}" for entry in m.unexpected]
        return [*lines, *self.notes]

    def report(self) -> dict[str, Any]:
        """What ``import.json`` holds."""
        kinds = ("matched", "dead", "missing", "unexpected")
        return {
            "schema_version": 1,
            **{name: getattr(self, name) for name in ("method", "scale", "preset", "protocol", "settings", "origin")},
            "values": self.matching.values,
            "notes": list(self.notes),
            "outside": list(self.outside),
            **{kind: [asdict(entry) for entry in getattr(self.matching, kind)] for kind in kinds},
        }


class MismatchError(UserError):
    """A checkpoint that does not fit. `matching` has all that is left over on either side; the sentence the first of it."""

    def __init__(self, message: str, matching: Matching) -> None:
        super().__init__(message)
        self.matching = matching

    def lines(self) -> list[str]:
        """All that is left over, for people."""
        missing = [f"missing in the file: {entry}" for entry in self.matching.missing]
        return missing + [f"of no use here: {entry}" for entry in self.matching.unexpected]


def released(method: str) -> Released:
    """The rules of a method. UserError for an unknown method, one without rules, or rules that cannot be read."""
    methods().card(method)
    path = _rules_file(method)
    if not path.is_file():
        have = ", ".join(_with_rules()) or "none"
        raise UserError(f"method '{method}' has no rules for checkpoints of its authors' code; those that have: {have}")
    return read_rules(path)


def import_weights(
    method: str,
    file: str | Path,
    to: str | Path,
    *,
    scale: int | None = None,
    partial: bool = False,
    settings: Mapping[str, Any] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
) -> ImportOutcome:
    """Make a bundle of a checkpoint that the authors' code wrote: a new folder ``to``, made only on success.

    file: safetensors, or what torch saved: a state dict, or one wrapped by Lightning (``{"state_dict": ...}``, prefixed names),
    by DataParallel (``module.``), or under a key that the method's rules know. scale: found from the shapes when not given.
    partial: what has no counterpart in the file stays as initialised (seed 0), and what has none here is left out. settings: of
    the method, over the preset of the rules and what follows from the shapes. plugins: folders whose sub-folders are plugins,
    for this call alone.

    The folder holds ``weights.safetensors``, whose header is a `BundleInfo`, and ``import.json``, the record of the import.
    Raises UserError, one sentence, for a file that cannot be read safely or does not fit (`MismatchError`), for an unknown
    method, scale or setting, and when ``to`` is there.
    """
    with scoped_plugins(plugins):
        return _import(method, Path(file), Path(to), scale, settings or {}, partial=partial)


def _import(
    method: str, file: Path, to: Path, scale: int | None, settings: Mapping[str, Any], *, partial: bool
) -> ImportOutcome:
    rules = released(method)
    if to.exists():
        raise UserError(f"--to {to}: is there already; a bundle is a new folder")
    state, outside = state_dict(file, read_foreign(file, rules.containers), rules)
    chosen = {**rules.fixed, **_from_shapes(method, file, rules, state, scale, settings), **settings}
    matching = _best(method, file, rules, chosen, state, scale, partial=partial)
    loaded = method_of(method, matching.scale, rules.preset, chosen)
    tensors = dict(loaded.state())
    for entry in matching.matched:
        found = computed(matching.rules[entry.ours], entry.name, state)
        if not torch.isfinite(found).all():
            raise UserError(f"{file}: the tensor {entry.name} holds NaN or Inf")
        tensors[entry.ours] = found.to(tensors[entry.ours].dtype)
    outcome = ImportOutcome(
        method=method,
        scale=matching.scale,
        preset=rules.preset,
        protocol=rules.protocol,
        settings=loaded.settings.model_dump(mode="json"),
        bundle=to,
        origin={"file": file.name, "sha256": files.file_digest(file), "code": rules.code},
        matching=matching,
        outside=outside,
        notes=_notes(rules, matching, outside),
    )
    info = BundleInfo(
        **{name: getattr(outcome, name) for name in ("method", "scale", "preset", "protocol", "settings", "origin")}
    )

    def build(folder: Path) -> None:
        made = BundleFiles(folder)
        save_tensors(made.weights, tensors, info.model_dump(mode="json"))
        files.write_json(made.import_report, outcome.report())

    files.build_folder(to, build)
    return outcome


def state_dict(file: Path, content: Any, rules: Released) -> tuple[State, tuple[str, ...]]:
    """The tensors of the network in a checkpoint's content, wrappers and prefixes taken off, and the names beside the network.

    Raises UserError, naming the file, when there are none.
    """
    for key in (*rules.containers, "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: holds a {type(content).__name__}, not tensors by name")
    state: State = {n: value for n, value in content.items() if isinstance(n, str) and isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(repr(key) for key in list(content)[:5]) or "none"
        raise UserError(f"{file}: holds no tensors by name (its keys: {keys})")
    outside: list[str] = []
    while True:
        if all(name.startswith("module.") for name in state):
            prefix = "module."
        else:
            found = [p for p in rules.prefixes if any(name.startswith(p) for name in state)]
            if not found:
                return state, tuple(outside)
            prefix = found[0]
        outside += [name for name in state if not name.startswith(prefix)]
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _from_shapes(
    method: str, file: Path, rules: Released, state: State, scale: int | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings that the checkpoint's shapes tell. UserError where no network has such shapes."""
    found = settings_from_shapes(rules, state)
    at = methods().card(method).scales[0] if scale is None else scale
    check_method(method, at, rules.preset, {**rules.fixed, **settings})  # the user's own mistakes
    try:
        check_method(method, at, rules.preset, {**rules.fixed, **found, **settings})
    except UserError as error:
        raise UserError(f"{file}: no {method} has the shapes of its tensors: {str(error).partition(': ')[2]}") from None
    return found


def _rules_file(method: str) -> Path:
    return methods().plugins()[method].folder / RULES


def _with_rules() -> list[str]:
    return [name for name in methods().names() if _rules_file(name).is_file()]


def _matching(method: str, scale: int, rules: Released, settings: dict[str, Any], state: State) -> Matching:
    """Of a checkpoint with the method's network at a scale, which is built without memory."""
    with torch.device("meta"):
        built = method_of(method, scale, rules.preset, settings)
    buffers = {name for name, _ in built.network.named_buffers()} if isinstance(built, TorchMethod) else set()
    return match(state, built.state(), buffers, rules, scale)


def _best(
    method: str,
    file: Path,
    rules: Released,
    settings: dict[str, Any],
    state: State,
    scale: int | None,
    *,
    partial: bool,
) -> Matching:
    """At the one scale that a checkpoint fits, or at the one that is asked for. UserError when there is none, or several."""
    at = {
        s: _matching(method, s, rules, settings, state)
        for s in (methods().card(method).scales if scale is None else (scale,))
    }
    complete = [m for m in at.values() if m.complete]
    least = min(m.left_over for m in at.values())
    nearest = complete or [m for m in at.values() if m.left_over == least]
    if not complete and not (partial and nearest[0].matched):
        raise _mismatch(method, file, nearest[0], _hint(method, rules, settings, state, scale))
    if len(nearest) > 1:
        scales = " and ".join(str(m.scale) for m in nearest)
        raise UserError(f"{file}: fits {scales} equally well; choose the scale with --scale")
    return nearest[0]


def _hint(method: str, rules: Released, settings: dict[str, Any], state: State, scale: int | None) -> str:
    """What the user may have meant by a checkpoint that does not fit."""
    for other in (name for name in _with_rules() if name != method):
        if known_names(released(other), state) == len(state) > known_names(rules, state):
            return f"it looks like a checkpoint of {other}"
    for other_scale in methods().card(method).scales if scale else ():
        if _matching(method, other_scale, rules, settings, state).complete:
            return f"it fits at {other_scale}x"
    return "--partial takes what fits"


def _mismatch(method: str, file: Path, matching: Matching, hint: str) -> MismatchError:
    parts = []
    if not matching.matched:
        parts.append("none of its tensors is known")
        hint = "" if hint.startswith("--") else hint
    else:
        if matching.missing:
            parts.append(f"{_many(matching.missing)} of the network not in it: {_some(matching.missing)}")
        if matching.unexpected:
            parts.append(f"{_many(matching.unexpected)} without a place in it: {_some(matching.unexpected)}")
    parts += [hint] if hint else []
    return MismatchError(f"{file}: does not fit {method} at {matching.scale}x; {'; '.join(parts)}", matching)


def _many(entries: tuple[Entry, ...]) -> str:
    return f"{len(entries)} tensor{'' if len(entries) == 1 else 's'}"


def _some(entries: tuple[Entry, ...]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(map(str, entries[:_SHOWN])) + more


def _notes(rules: Released, matching: Matching, outside: tuple[str, ...]) -> tuple[str, ...]:
    notes = list(rules.notes)
    notes += [rule.why for rule in matching.rules.values() if rule.why]
    if matching.missing:
        notes.append(
            f"{_many(matching.missing)} not in the file, left as initialised: these weights are not what was trained."
        )
    if outside:
        notes.append(f"Left out, because they are not part of the network: {', '.join(outside)}.")
    return tuple(dict.fromkeys(notes))
