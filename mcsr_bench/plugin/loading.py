"""From a name and settings to a ready method or dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.plugin.cards import DatasetCard, MethodCard
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.registry import datasets, methods, scoped_plugins

SMOKE = "smoke"
"""The preset for tests: ``quick`` cut to ten steps. Its numbers are not results."""

SHIPPED = "small"
"""The preset of weights that come with a method, see `mcsr_bench.weights.shipped`."""

_SMOKE_CHANGES = {"budget": 10, "budget_unit": "steps", "validations": 1, "batch_size": 2}


def preset_values(card: MethodCard, preset: str, scale: int) -> dict[str, Any]:
    """The value of every setting at a preset and scale. UserError when the method has no such preset.

    Methods without settings (interpolation) accept every preset that some method has.
    """
    if not card.presets:
        known = {
            SMOKE,
            *(name for plugin in methods().plugins().values() if plugin.card for name in plugin.card.presets),
        }
        if preset not in known:
            raise UserError(f"--preset {preset}: no method has it; there are {', '.join(sorted(known - {SMOKE}))}")
        return {}
    if preset == SMOKE:
        quick = preset_values(card, "quick", scale)
        return {**quick, **{k: v for k, v in _SMOKE_CHANGES.items() if k in quick}}
    if preset not in card.presets:
        raise UserError(f"--preset {preset}: method '{card.name}' has the presets {', '.join(sorted(card.presets))}")
    chosen = card.presets[preset]
    return {key: value[f"x{scale}"] if isinstance(value, dict) else value for key, value in chosen.items()}


def check_method(name: str, scale: int, preset: str, settings: Mapping[str, Any]) -> Any:
    """The validated settings of a method. UserError for an unknown method, preset or setting, or a scale it does not have."""
    card = methods().card(name)
    if scale not in card.scales:
        raise UserError(f"--scale {scale}: method '{name}' has the scales {', '.join(map(str, card.scales))}")
    found = checked(methods().load(name).Settings, {**preset_values(card, preset, scale), **settings}, name)
    if 0 < getattr(found, "patch", 0) < card.smallest_patch:
        raise UserError(
            f"--set {name}.patch={found.patch}: patch must be at least {card.smallest_patch} LR pixels, or 0 for whole slices"
        )
    return found


def check_seed(option: str, seed: int) -> None:
    """UserError for a seed that generators do not take."""
    if not 0 <= seed < 2**32:
        raise UserError(f"{option} {seed}: a seed is between 0 and 2^32 - 1")


def method_of(name: str, scale: int, preset: str, settings: Mapping[str, Any], *, seed: int = 0) -> Method:
    """As `mcsr_bench.load_method`, with the settings in a mapping.

    They may come from a record or a file, where none must pass for an argument: ``plugins`` would run code of the file's choice.
    """
    with scoped_plugins(), torch.random.fork_rng(devices=[]):
        values = check_method(name, scale, preset, settings)
        torch.manual_seed(seed)
        method = methods().load(name)(methods().card(name), scale, values)
    assert isinstance(method, Method)
    return method


def smoke_settings(dataset: DatasetCard, method_cards: Iterable[MethodCard], scales: Iterable[int]) -> dict[str, Any]:
    """What preset ``smoke`` changes of a generated dataset: images as small as the methods and scales allow."""
    if not dataset.size_setting:
        return {}
    smallest = [card.smoke_size for card in method_cards] + [8 * scale for scale in scales]
    return {dataset.size_setting: max(32, *smallest)}


def load_dataset(
    name: str,
    data_root: str | Path | None = None,
    *,
    plugins: str | Path | Iterable[str | Path] = (),
    **settings: Any,
) -> Dataset:
    """A dataset by name; nothing is read yet.

    data_root: the folder of its files, for one that has files. plugins: folders whose sub-folders are plugins, known for this call
    alone. settings: what differs from its card. Raises UserError for an unknown name or setting, or a missing data root.
    """
    with scoped_plugins(plugins):
        return dataset_of(name, None if data_root is None else Path(data_root), settings)


def dataset_of(name: str, root: Path | None, settings: Mapping[str, Any]) -> Dataset:
    """As `load_dataset`, with the settings in a mapping: none of a record's or a file's may pass for an argument."""
    with scoped_plugins():
        standard = datasets().card(name).settings
        dataset_class: type[Dataset] = datasets().load(name)
    values = checked(dataset_class.Settings, {**standard, **settings}, name)
    root = None if root is None else root.expanduser()
    if root is not None and not root.is_dir():
        raise UserError(f"--data-root {root}: no such folder")
    loaded = dataset_class(name, values, root)
    if dataset_class.needs_root:
        _ = loaded.root
    return loaded


def checked(model: type[BaseModel], values: dict[str, Any], where: str) -> Any:
    """Build a settings model; UserError "where.key must ..." when a value is unknown or out of range."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"setting of {where}", key, model.model_fields) from None
        if not key:  # settings that contradict each other
            raise UserError(f"--set {where}...: {_said(first)}") from None
        raise UserError(f"--set {where}.{key}={first.get('input')}: {_allowed(model, key, first)}") from None


def _allowed(model: type[BaseModel], key: str, first: Any) -> str:
    """What a setting may be, e.g. "alpha must lie in 0..1"."""
    bounds: dict[str, Any] = {}
    for item in getattr(model.model_fields.get(key), "metadata", ()):
        bounds.update({n: getattr(item, n) for n in ("ge", "gt", "le", "lt") if getattr(item, n, None) is not None})
    if first["type"].startswith(("greater_than", "less_than")):
        if {"ge", "le"} <= bounds.keys():
            return f"{key} must lie in {bounds['ge']}..{bounds['le']}"
        words = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
        return f"{key} must be " + " and ".join(f"{words[n]} {v}" for n, v in bounds.items())
    return f"{key}: {_said(first)}"


def _said(first: Any) -> str:
    """pydantic's message as a clause."""
    text = str(first["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
