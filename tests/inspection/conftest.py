"""The phantoms, as a fixture."""

from __future__ import annotations

from types import ModuleType

import phantoms
import pytest


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    """`tests/helpers/phantoms.py`."""
    return phantoms
