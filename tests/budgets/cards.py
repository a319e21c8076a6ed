"""Write into the cards of trained methods what a training step costs: ``python tests/budgets/cards.py``.

Run it when a network or a preset changes; `tests/test_budgets.py` goes red until then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from mcsr_bench import TorchMethod, load_method
from mcsr_bench.plugin.registry import methods
from mcsr_bench.training.budget import counted_step_flop

PRESETS = ("quick", "small")


def folder_of(name: str) -> Path:
    """The folder of a method: of a built-in one that in the checkout, wherever the package is installed."""
    own = Path(__file__).parents[2] / "methods" / name
    return own if own.is_dir() else methods().folder(name)


def card_of(name: str) -> Path:
    """The file of a method's card."""
    return folder_of(name) / "card.toml"


def trained() -> list[str]:
    """The built-in methods that train, in the order of tables."""
    return [name for name in methods().names() if methods().card(name).trains]


def count(name: str, preset: str) -> dict[str, int]:
    """FLOP of one training step by scale ("x2")."""
    found = {}
    for scale in methods().card(name).scales:
        with torch.device("meta"):
            method = load_method(name, scale, preset)
        assert isinstance(method, TorchMethod)
        found[f"x{scale}"] = counted_step_flop(method)
    return found


def write_table(name: str, table: str, lines: Iterable[str]) -> None:
    """Put a table into a card in place of the one of that name, or in front of the presets."""
    path = card_of(name)
    text = path.read_text("utf-8")
    block = "\n".join([f"[{table}]", *lines]) + "\n\n"
    old = re.compile(rf"^\[{re.escape(table)}\]\n.*?(?=^\[|^#|\Z)", re.MULTILINE | re.DOTALL)
    where = old.search(text)
    start, end = where.span() if where else (text.index("[presets."),) * 2
    path.write_text(text[:start] + block + text[end:], "utf-8")


def write_values(name: str, preset: str, values: Mapping[str, str]) -> None:
    """Change settings of a preset in a card; the values are TOML."""
    path = card_of(name)
    head, title, rest = path.read_text("utf-8").partition(f"[presets.{preset}]\n")
    for key, value in values.items():
        rest = re.sub(rf"^{key} = .*$", f"{key} = {value}", rest, count=1, flags=re.MULTILINE)
    path.write_text(head + title + rest, "utf-8")


def inline(values: Mapping[str, object]) -> str:
    """A TOML inline table on one line."""
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


def main() -> None:
    """Count every trained method at every preset whose budget is compute."""
    for name in trained():
        counts = {preset: {at: f"{n:_}" for at, n in count(name, preset).items()} for preset in PRESETS}
        write_table(name, "training_flop", [f"{preset} = {inline(found)}" for preset, found in counts.items()])


if __name__ == "__main__":
    main()
