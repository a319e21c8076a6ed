"""Floor 2: what ``list`` shows. Reads cards, imports no plugin and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcsr_bench.errors import unknown_name
from mcsr_bench.registry import Registry, add_plugins, datasets, methods

KINDS = ("methods", "datasets", "protocols", "suites", "metrics")


def listing(what: str, plugins: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows with name, title, available, reason; methods and datasets in the order of tables, metrics with their revision.

    UserError for another kind.
    """
    if what not in KINDS:
        raise unknown_name("list of", what, KINDS)
    for path in plugins:
        add_plugins(path)
    if what == "methods":
        return _plugins(methods())
    if what == "datasets":
        return _plugins(datasets())
    if what == "protocols":
        from mcsr_bench.protocol import PROTOCOLS

        return [_row(p.id, p.title) for p in PROTOCOLS.values()]
    if what == "suites":
        from mcsr_bench.suites import suites

        return [_row(name, suite.title) for name, suite in suites().items()]
    from mcsr_bench.metrics import METRICS

    return [_row(m.id, m.title) | {"revision": m.revision} for m in METRICS.values()]


def _plugins(registry: Registry[Any]) -> list[dict[str, Any]]:
    usable = {name: i for i, name in enumerate(registry.names())}
    found = sorted(registry.plugins().values(), key=lambda p: (usable.get(p.name, len(usable)), p.name))
    return [_row(p.name, p.card.title if p.card else "", p.reason) for p in found]


def _row(name: str, title: str, reason: str = "") -> dict[str, Any]:
    return {"name": name, "title": title, "available": not reason, "reason": reason}
