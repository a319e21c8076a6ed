"""The search spaces of the built-in networks: one for all, around every preset; and what is not a space."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mcsr_bench.plugin import registry
from mcsr_bench.plugin.cards import Searched, Tuning


def test_the_search_space_and_the_budget_are_the_same_for_every_network() -> None:
    names = [name for name in registry.methods().names() if registry.methods().card(name).trains]
    built_in = [name for name in names if (Path(__file__).parents[1] / "methods" / name).is_dir()]
    assert sorted(built_in) == ["edsr", "lyu", "mcmrsr", "minet", "sanet", "smore", "zeng"]
    tables = {}
    for name in built_in:  # the file itself, not what the schema made of it
        text = (Path(__file__).parents[1] / "methods" / name / "card.toml").read_text("utf-8")
        tables[name] = tomllib.loads(text)["tuning"]
    assert all(table == tables["sanet"] for table in tables.values())
    for name in built_in:
        card = registry.methods().card(name)
        for preset in card.presets.values():
            assert card.tuning is not None
            assert card.tuning.space.keys() <= preset.keys()


def test_the_presets_of_every_network_lie_within_the_range() -> None:
    for name in ("edsr", "lyu", "mcmrsr", "minet", "sanet", "smore", "zeng"):
        card = registry.methods().card(name)
        assert card.tuning is not None
        rate = card.tuning.space["learning_rate"]
        for preset in card.presets.values():
            assert rate.low is not None
            assert rate.high is not None
            stated = preset["learning_rate"]
            for value in stated.values() if isinstance(stated, dict) else [stated]:
                assert rate.low <= value <= rate.high


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1.0},
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "log": True},
        {"choices": [1]},
        {"choices": [1, 1, 2]},
        {"choices": [1, 2], "low": 1.0},
        {"choices": [1, 2], "log": True},
        {"low": 1.0, "high": 2.0, "step": 1.0},
    ],
)
def test_a_space_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Searched.model_validate(wrong)
    with pytest.raises(ValidationError):
        Tuning.model_validate({"folds": 3, "trials": 1, "space": {}})
