"""Who is one patient: connected components of ``patient_id`` over both files of every pair."""

from __future__ import annotations

from collections.abc import Iterable


def components(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For every id that occurs, the name of its component: the smallest id in it.

    links: pairs of ids that belong together, (a, a) for an id alone. The order of the links changes nothing.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low  # the smaller id stays on top, so that it names the component
    return {node: root(node) for node in parent}
