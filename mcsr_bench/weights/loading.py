"""From the name of a method, or its class, to one that is ready: with fresh weights, or with those that come with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.given import named
from mcsr_bench.plugin.loading import SHIPPED, check_seed, method_of
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.weights.shipped import load_shipped


def load_method(
    name: str | type[Method],
    scale: int,
    preset: str | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
    plugins: str | Path | Iterable[str | Path] = (),
    **settings: Any,
) -> Method:
    """A method with freshly initialised weights, or with those that come with it; ``.network`` of a trained one is a torch module.

    name: of a method, or a class of your own with a ``Card``. preset: None: "paper". pretrained: with the weights of seed 0 that
    were trained on brain-sim (docs/shipped-weights.md), which are of preset "small" as it is. The initialisation depends on
    ``seed`` alone and leaves torch's random state as it was. plugins: folders whose sub-folders are plugins, known for this call
    alone. settings: what differs from the preset. Raises UserError for an unknown name, preset, scale or setting, a setting out of
    range, and weights that are not there.
    """
    check_seed("--seed", seed)
    preset = shipped_preset(preset) if pretrained else preset or "paper"
    with scoped_plugins(plugins):
        names, given = named(name)
        [chosen] = names or ()
        with scoped_plugins(classes=given):
            method = method_of(chosen, scale, preset, settings, seed=seed)
            if pretrained:
                load_shipped(method)
    return method


def shipped_preset(asked: str | None) -> str:
    """The preset of shipped weights. UserError where another one is asked for."""
    if asked not in (None, SHIPPED):
        raise UserError(f"--preset {asked}: the weights of --pretrained are of preset {SHIPPED}")
    return SHIPPED
