"""The memory of digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcsr_bench.errors import UserError
from mcsr_bench.files import read_json
from mcsr_bench.raw import digests as module

pytestmark = pytest.mark.usefixtures("own_cache")


def write(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i}.h5" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 1000)
    return paths


@pytest.mark.parametrize("error", [KeyboardInterrupt(), PermissionError(13, "permission denied")])
def test_what_was_hashed_before_an_interruption_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    paths = write(tmp_path, 4)
    read: list[str] = []
    stop = {"3.h5"}

    def digest(path: Path) -> str:
        if path.name in stop:
            raise error
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "file_digest", digest)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError):
        module.digests(paths)
    stop.clear()
    found = module.digests(paths)
    assert read == ["0.h5", "1.h5", "2.h5", "3.h5"]
    assert [found[p] for p in paths] == [hashlib.sha256(bytes([i]) * 1000).hexdigest() for i in range(4)]


def test_it_is_written_down_along_the_way(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, 3)
    monkeypatch.setattr(module, "SAVED_EVERY", 0.0)
    counts: list[int] = []

    def seen() -> Iterator[Path]:
        for path in paths:
            yield path
            counts.append(len(read_json(own_cache / "digests.json")))

    module.digests(seen())
    assert counts == [1, 2, 3]
