"""What the fields of a record may hold: a record may come from anyone, and becomes names of files, numbers and text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
"""Of a method or dataset, as cards have it: it is also part of the name of a folder."""
Variant = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.=-]*$", max_length=100)]
"""Of settings: a suite's name, hexadecimal digits, or both."""
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=100)]
"""A key: letters, digits, hyphens."""

_OF_CARDS: dict[str, type] = {
    **dict.fromkeys(("title", "authors", "contrasts", "track", "reported_as"), str),
    **dict.fromkeys(("venue", "doi", "arxiv", "code", "code_licence", "checked_against"), str),
    **dict.fromkeys(("published", "derived", "assumptions"), list),
    **dict.fromkeys(("order", "year"), int),
    "trains": bool,
}
"""What is used of the card in a record."""


def _by_part(counts: dict[str, int]) -> dict[str, int]:
    if counts.keys() != {"train", "validation", "test"}:
        raise ValueError("has a number for each of train, validation and test")
    return counts


def _as_in_cards(card: dict[str, Any]) -> dict[str, Any]:
    for key, kind in _OF_CARDS.items():
        if not isinstance(card.get(key, kind()), kind):
            raise ValueError(f"{key} is not as in a card")
    return card


Counts = Annotated[dict[str, int], AfterValidator(_by_part)]
"""Of train, validation, test."""
CardValues = Annotated[dict[str, Any], AfterValidator(_as_in_cards)]
"""A method's card, of which everything that is used has the type that a `MethodCard` gives it."""
