"""The phantoms, as a fixture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    """`phantoms.py` of this folder."""
    spec = importlib.util.spec_from_file_location("inspection_phantoms", Path(__file__).parent / "phantoms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
