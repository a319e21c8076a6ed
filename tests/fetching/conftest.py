"""The server of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
