"""Public data sets by name: downloaded where they may be, and how to get the others."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.fetching import fetch as fetching
from mcsr_bench.fetching import sources as places
from mcsr_bench.fetching.fetch import FETCHED, Fetched
from mcsr_bench.fetching.sources import Source
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.system.notebook import standard_listener
from mcsr_bench.system.progress import Listener


class AccessError(UserError):
    """A data set that is not downloaded here; the message says its licence and how to get it."""


@dataclass(frozen=True)
class FetchOutcome:
    """A data set that is there."""

    source: Source
    fetched: Fetched
    """What came from where, with sizes and hashes."""
    folder: Path

    def lines(self) -> list[str]:
        """A sentence per file."""
        return self.fetched.lines()

    def notes(self) -> list[str]:
        """For people: how the folder is laid out, and what to do next."""
        said = [f"{self.source.layout}; recorded in {self.folder / FETCHED}"]
        step = self.source.next.format(to=shlex.quote(str(self.folder))) if self.source.next else ""
        return [*said, f"next: {step}"] if step else said


def fetch(
    name: str,
    to: str | Path | None = None,
    *,
    accept_licence: bool | Callable[[Source], bool] = False,
    listener: Listener | None = None,
) -> FetchOutcome:
    """Download a public data set into the folder ``to``, verified; the same call again goes on where it stopped.

    name: "m4raw", "ixi" or "open-ms". accept_licence: True when you have read the licence and accept it; or a function that is
    shown the source (``.terms()`` is the text) and answers. listener: told of progress. Raises `AccessError`, which says how to
    get it, for a dataset that is not downloaded here; UserError for an unknown name, a licence that was not accepted, a folder
    that holds something else, a full disk, a publisher who does not answer, and what differs from what is published.
    """
    known = places.sources()
    source = known.get(name)
    if source is None:
        raise _access(name, known)
    if to is None:
        raise UserError("--to is missing: the folder that gets the data")
    accept = accept_licence if callable(accept_licence) else lambda _: bool(accept_licence)
    return FetchOutcome(source, fetching.fetch(source, Path(to), accept, listener or standard_listener()), Path(to))


def _access(name: str, fetchable: dict[str, Source]) -> UserError:
    known = datasets()
    if name not in known.names():
        return unknown_name("data set", name, {*fetchable, *known.names()})
    card = known.card(name)
    return AccessError(card.title, f"Licence: {card.licence}", f"Nothing was downloaded. How to get it: {card.access}")
