"""What is prepared is kept when the machine fails, and what is kept is proven to be what was written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcsr_bench.data import encoding, one_case
from mcsr_bench.data import store as stores
from mcsr_bench.data.prepare import Prepared, prepare
from mcsr_bench.data.store import store_root
from mcsr_bench.errors import InterruptedWorkError, UserError, disk_error
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parents[1] / "toys"
STEPS = {"hr": "prepare_case", "lr": "degrade_volume"}


class Told(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def cache(own_cache: Path) -> Path:
    add_plugins(TOYS)
    return own_cache


def prepared(told: Told | None = None) -> Prepared:
    [one] = prepare(load_dataset("toy", patients=5), MCSR_1, [2], listener=told)
    return one


def below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def expected(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a store that nothing interrupted."""
    with monkeypatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "sound"))
        prepared()
        return below(store_root())


def counting(
    monkeypatch: pytest.MonkeyPatch, step: str, fails_at: int = 0, error: BaseException | None = None
) -> list[Any]:
    """Count the calls of a step, and raise at one of them, in the midst of its writing."""
    real, calls = getattr(one_case, step), []

    def counted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == fails_at and error is not None:
            with monkeypatch.context() as patch:
                patch.setattr(encoding.np.lib.format, "write_array_header_1_0", raising(error))
                return real(*args)
        return real(*args)

    monkeypatch.setattr(one_case, step, counted)
    return calls


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("kind", "number"), [("hr", errno.ENOSPC), ("lr", errno.ENOSPC), ("hr", errno.ESTALE)])
def test_a_fault_of_the_disk_keeps_what_is_done(
    expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, kind: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        counting(patch, STEPS[kind], 4, OSError(number, os.strerror(number)))
        with pytest.raises(InterruptedWorkError) as caught:
            prepared()
    assert str(store_root()) in str(caught.value)
    assert "cannot write or read" in str(caught.value)
    assert "3 of 5 volumes are prepared and kept, and the same command goes on" in str(caught.value)
    [left] = store_root().glob(".*.building")
    assert [p.name for p in left.rglob("*") if p.suffix in (".part", ".tmp")] == []
    with monkeypatch.context() as patch:
        calls, told = counting(patch, STEPS[kind]), Told()
        prepared(told)
    assert len(calls) == 2
    assert told.said == []
    assert below(store_root()) == expected


def test_memory_that_runs_out_keeps_what_is_done(expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        counting(patch, "prepare_case", 4, MemoryError("Unable to allocate 8 GiB"))
        with pytest.raises(InterruptedWorkError, match=r"out of memory \(Unable to allocate 8 GiB\).* 3 of 5 volumes"):
            prepared()
    prepared()
    assert below(store_root()) == expected


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path) -> None:
    """A volume of the right length that is another's."""
    path.write_bytes(path.with_name("00001.npy").read_bytes())


@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        ("hr", "target/00002.npy", flipped),
        ("hr", "target/00002.npy", swapped),
        ("hr", "auxiliary/00002.npy", Path.unlink),
        ("hr", "volumes/00002.json", emptied),
        ("lr", "auxiliary/00002.npy", emptied),
    ],
)
def test_a_kept_volume_that_is_not_what_was_written_is_prepared_again(
    expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, kind: str, name: str, damage: Callable[[Path], None]
) -> None:
    with monkeypatch.context() as patch:
        counting(patch, STEPS[kind], 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            prepared()
    [left] = store_root().glob(".*.building")
    damage(left / name)
    with monkeypatch.context() as patch:
        calls, told = counting(patch, STEPS[kind]), Told()
        prepared(told)
    assert len(calls) == 5 - 2
    assert [text.partition(" that")[0] for text in told.said] == ["1 volumes"]
    assert below(store_root()) == expected


def test_an_end_between_the_index_and_the_move_is_checked_as_well(
    expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for damaged, calls_expected in ((False, 0), (True, 5)):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "rename", raising(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                prepared()
        [left] = store_root().glob(".*.building")
        if damaged:
            flipped(left / "target" / "00002.npy")
        with monkeypatch.context() as patch:
            calls = counting(patch, "prepare_case")
            prepared()
        assert len(calls) == calls_expected
        assert below(store_root()) == expected
        for folder in store_root().iterdir():
            files.remove_folder(folder)


def test_data_that_vanish_meanwhile_leave_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader calls them damaged; that they are gone is another thing."""
    monkeypatch.setattr(stores, "_gone", lambda _: "/net/p03.h5")
    with monkeypatch.context() as patch:
        counting(patch, "prepare_case", 4, UserError("/net/p03.h5: no such file"))
        with pytest.raises(
            InterruptedWorkError, match=r"/net/p03\.h5: is gone .* 3 of 5 volumes are prepared and kept"
        ):
            prepared()


def test_a_disk_that_is_really_full_and_then_is_not(
    small_disk: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(small_disk / "cache"))
    (small_disk / "ballast").write_bytes(bytes(250_000))
    with pytest.raises(
        InterruptedWorkError, match=rf"{small_disk}.*the disk is full; [1-4] of 5 volumes are prepared and kept"
    ):
        prepared()
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    prepared()
    assert below(store_root()) == expected
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert prepared().store.volumes.keys()  # what is whole needs no writing
    monkeypatch.setattr(stores, "LAYOUT", 0)
    with pytest.raises(OSError, match="Read-only") as caught:
        prepared()
    assert f"{store_root()}" in str(disk_error(caught.value))
