"""``schema``: what ``trial.json`` holds."""

from __future__ import annotations

import json

import mcsr_bench as mb


def schema() -> None:
    """Print the JSON schema of trial.json, the record that every trial leaves."""
    print(json.dumps(mb.schema(), indent=1, ensure_ascii=False))
