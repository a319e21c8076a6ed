"""The memory of digests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import ClassVar

import pair_files
import pytest

from mcsr_bench.data.prepare import prepare
from mcsr_bench.errors import UserError
from mcsr_bench.plugin import dataset
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.system import digests as module
from mcsr_bench.system.files import read_json
from mcsr_bench.system.progress import Listener

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
    monkeypatch.setattr(module, "SAVED_EVERY", 0.0)
    steps: list[tuple[int, int, int]] = []

    def told(done: int, total: int) -> None:
        memory = own_cache / "digests.json"
        steps.append((done, total, len(read_json(memory)) if memory.is_file() else 0))

    paths = write(tmp_path, 3)
    module.digests(paths[:1])
    module.digests(paths, told)  # one is known: 2000 bytes are left
    assert steps == [(0, 2000, 1), (1000, 2000, 2), (2000, 2000, 3)]
    module.digests(paths, told)
    assert len(steps) == 3, "nothing to read, nothing to tell"


def test_a_data_set_tells_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hearing(Listener):
        steps: ClassVar[list[tuple[str, int, int]]] = []

        def preparing(self, message: str, done: int, total: int) -> None:
            self.steps.append((message, done, total))

    paths = write(tmp_path, 2)
    for path in paths:
        os.truncate(path, 3_000_000)
    data = load_dataset("mcsr-pair", tmp_path)
    data.listener = Hearing()
    data.digests(paths[:1])
    assert Hearing.steps == []
    monkeypatch.setattr(dataset, "TOLD_FROM", 1)
    data.digests(paths)
    assert Hearing.steps == [("reading the files of mcsr-pair (MB)", done, 3) for done in (0, 3)]


def test_whoever_prepares_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []

    class Hearing(Listener):
        def preparing(self, message: str, done: int, total: int) -> None:
            messages.append(message)

    root = pair_files.write_folder(tmp_path / "data", 3)
    monkeypatch.setattr(dataset, "TOLD_FROM", 1)
    prepare(load_dataset("mcsr-pair", root), MCSR_1, [2], listener=Hearing())
    assert messages[0] == "reading the files of mcsr-pair (MB)"


def test_a_file_is_read_once_per_process_while_it_is_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = write(tmp_path, 1)
    read: list[Path] = []

    def digest(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def right() -> bool:
        return module.digest_once(path) == hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "file_digest", digest)
    written = path.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "time_ns", lambda: written + 10**6)
        assert right()
        path.write_bytes(bytes([9]) * 1000)  # in place, of the same length, within a tick of the clock
        os.utime(path, ns=(written, written))
        assert right()
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    read.clear()
    assert right()
    assert right()
    path = path.rename(tmp_path / "moved.h5")
    assert right()
    assert len(read) == 1
    path.write_bytes(bytes([8]) * 1000)
    assert right()
    assert module.digests_once([path]) == [hashlib.sha256(path.read_bytes()).hexdigest()]
