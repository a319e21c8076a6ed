"""What ``list`` and ``info`` show: from cards alone, without torch; for JSON, ``info`` also counts parameters and arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.published import published_numbers
from mcsr_bench.plugin.registry import Registry, datasets, methods, scoped_plugins

KINDS = ("methods", "datasets", "protocols", "suites", "metrics")


def listing(what: str, plugins: str | Path | Iterable[str | Path] = ()) -> list[dict[str, Any]]:
    """What there is, and why something that was found cannot be used: rows with name, title, available, reason.

    what: "methods" or "datasets" (in the order of tables), "protocols", "suites" or "metrics" (also with their revision). plugins:
    folders whose sub-folders are plugins, known for this call alone. UserError for another kind.
    """
    if what not in KINDS:
        raise unknown_name("list of", what, KINDS)
    with scoped_plugins(plugins):
        if what == "methods":
            return _plugins(methods())
        if what == "datasets":
            return _plugins(datasets())
    if what == "protocols":
        from mcsr_bench.protocol import PROTOCOLS

        return [_row(p.id, p.title) for p in PROTOCOLS.values()]
    if what == "suites":
        from mcsr_bench.experiment.suites import suites

        return [_row(name, suite.title) for name, suite in suites().items()]
    from mcsr_bench.metrics import METRICS

    return [_row(m.id, m.title) | {"revision": m.revision} for m in METRICS.values()]


def _plugins(registry: Registry[Any]) -> list[dict[str, Any]]:
    usable = {name: i for i, name in enumerate(registry.names())}
    found = sorted(registry.plugins().values(), key=lambda p: (usable.get(p.name, len(usable)), p.name))
    return [_row(p.name, p.card.title if p.card else "", p.reason) for p in found]


def _row(name: str, title: str, reason: str = "") -> dict[str, Any]:
    return {"name": name, "title": title, "available": not reason, "reason": reason}


def info(
    what: str,
    name: str,
    *,
    scale: int | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
) -> dict[str, Any]:
    """Everything about a method (`method_info`) or a dataset (its card), as ``mcsr-bench info --json`` prints it.

    what: "method" or "dataset". scale, preset, settings: those that a method's size and cost are counted at. plugins: folders whose
    sub-folders are plugins, known for this call alone. UserError for an unknown name, scale, preset or setting.
    """
    with scoped_plugins(plugins):
        _check_what(what)
        if what == "method":
            return method_info(name, scale=scale, preset=preset, settings=settings)
        for option, value in (("--scale", scale), ("--preset", preset), ("--set", settings)):
            if value:
                raise UserError(f"{option} {value}: is for a method, and a dataset has no size and cost")
        return dataset_info(name)


def described(
    what: str, name: str, plugins: str | Path | Iterable[str | Path] = ()
) -> tuple[list[str], list[tuple[str, str, str, str, str]]]:
    """The same for people, from the card alone: lines, and the `difference_rows` of a method. UserError as `info`."""
    with scoped_plugins(plugins):
        _check_what(what)
        return (dataset_text(name), []) if what == "dataset" else (method_text(name), difference_rows(name))


def _check_what(what: str) -> None:
    if what not in ("method", "dataset"):
        raise unknown_name("info", what, ("method", "dataset"))


def method_info(
    name: str, *, scale: int | None = None, preset: str | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything about a method: its card, the numbers that papers report of it, and its size and cost at HR 320, batch 1.

    scale: 2, or the smallest it has; preset: "paper", or the first it has. A method without a network has 0 parameters and macs.
    """
    from mcsr_bench.cost.counting import SIZE, cost

    card = methods().card(name)
    chosen_scale = scale if scale is not None else 2 if 2 in card.scales else min(card.scales)
    usual = "paper" if "paper" in card.presets or not card.presets else next(iter(card.presets))
    chosen = usual if preset is None else preset
    found = cost(name, chosen_scale, chosen, settings=settings)
    described = card.model_dump(mode="json", by_alias=True, exclude={"presets", "differences", "parameters"})
    return {
        **described,
        "scale": chosen_scale,
        "preset": chosen,
        "parameters": found.parameters if found else 0,
        "trainable_parameters": found.trainable_parameters if found else 0,
        "dead_parameters": found.dead_parameters if found else 0,
        "macs": found.macs if found else 0,
        "flops": found.flops if found else 0,
        "uncounted": list(found.uncounted) if found else [],
        "size": SIZE,
        "presets": card.presets,
        "reported": reported(card),
        "differences": [d.model_dump(mode="json") for d in card.differences],
        "declared_dead_parameters": list(card.dead_parameters),
        "declared_parameters": card.parameters,
    }


def dataset_info(name: str) -> dict[str, Any]:
    """The card of a dataset."""
    return datasets().card(name).model_dump(mode="json", by_alias=True)


def reported(card: MethodCard) -> list[dict[str, str]]:
    """The numbers that papers print of a method, as printed."""
    rows = [p for p in published_numbers() if card.reported_as and p.method_alias == card.reported_as]
    return [
        {
            "table": p.table,
            "dataset": p.dataset_alias,
            "scale": p.scale,
            "variant": p.variant,
            "metric": p.metric,
            "mean": p.mean,
            "std": p.std,
            "note": p.note,
        }
        for p in rows
    ]


def method_text(name: str) -> list[str]:
    """The card of a method in lines for people, without what is in `difference_rows`."""
    card = methods().card(name)
    lines = [f"{card.name}: {card.title}", f"{card.authors} ({card.year}), {card.venue}"]
    links = [f"doi:{card.doi}" if card.doi else "", f"arXiv:{card.arxiv}" if card.arxiv else ""]
    links.append(f"{card.code} ({card.code_licence or 'licence not stated'})" if card.code else "")
    lines += [" · ".join(link for link in links if link)] if any(links) else []
    what = "the auxiliary is used" if card.contrasts == "multi" else "single-contrast: the auxiliary is not used"
    lines.append(f"{what}; {card.track} data; scales {', '.join(map(str, card.scales))}")
    for title, items in (("Published", card.published), ("Derived", card.derived), ("Assumptions", card.assumptions)):
        if items:
            lines += ["", f"{title}:", *(f"- {item}" for item in items)]
    if card.checked_against:
        lines += ["", f"Checked against: {card.checked_against}"]
    if card.dead_parameters:
        lines += ["", f"Parameters that get no gradient: {', '.join(card.dead_parameters)}"]
    if card.parameters:
        lines += ["", "Parameters:"]
        for preset, sizes in card.parameters.items():
            lines.append(f"- {preset}: " + ", ".join(f"{scale} {count:,}" for scale, count in sizes.items()))
    if card.presets:
        lines += ["", "Presets:"]
        for preset, values in card.presets.items():
            lines.append(f"- {preset}: " + ", ".join(f"{key}={_value(value)}" for key, value in values.items()))
    if card.tuning:
        lines += ["", f"Searched by tune ({card.tuning.trials} points, {card.tuning.folds} folds by patient):"]
        lines += [f"- {key}: {searched.text()}" for key, searched in card.tuning.space.items()]
    return lines


def difference_rows(name: str) -> list[tuple[str, str, str, str, str]]:
    """Where paper and released code disagree: topic, paper, released code, here, setting."""
    return [(d.topic, d.paper, d.released, d.here, d.setting) for d in methods().card(name).differences]


def dataset_text(name: str) -> list[str]:
    """The card of a dataset in lines for people."""
    card = datasets().card(name)
    kind = "real data" if card.real else "simulated, not real data"
    lines = [
        f"{card.name}: {card.title}",
        f"{kind}; {card.track} track; contrasts {', '.join(card.contrasts)}",
        f"source: {card.source}",
        f"licence: {card.licence}",
        f"access: {card.access}",
    ]
    return [*lines, *(f"- {note}" for note in card.notes)]


def _value(value: Any) -> str:
    if isinstance(value, dict):  # by scale
        return "(" + ", ".join(f"{at} {one}" for at, one in value.items()) + ")"
    return str(value).lower() if isinstance(value, bool) else str(value)
