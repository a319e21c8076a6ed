"""What the machine is to blame for is told from what data and plugins are to blame for, whoever wraps it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mcsr_bench.data.raw import hdf5, nifti
from mcsr_bench.engines.base import execute, registered
from mcsr_bench.errors import DamagedFileError, InterruptedWorkError, UserError, damaged, disk_error, machine_error
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files
from mcsr_bench.system.hdf5 import new_file
from mcsr_bench.weights.tensors import load_tensors, save_tensors


@contextmanager
def no_larger_than(n: int) -> Iterator[None]:
    """No file can grow beyond n bytes: a disk that takes no more, for every program."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Nothing more can be opened."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def raised(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "failed"),
        (errno.ESTALE, "network folder is gone"),
        (errno.EMFILE, "too many files are open in this process"),
        (errno.ENOMEM, "out of memory"),
    ],
)
def test_each_fault_has_its_sentence_and_leaves_work_to_go_on(number: int, words: str, tmp_path: Path) -> None:
    found = machine_error(raised(number), tmp_path)
    assert isinstance(found, InterruptedWorkError)
    assert str(found).startswith(f"{tmp_path}: cannot write or read: ")
    assert words in str(found)
    assert isinstance(disk_error(raised(number)), InterruptedWorkError)


def test_what_users_and_plugins_do_is_none_of_it() -> None:
    for error in (
        UserError("errno = 28"),
        ValueError("x"),
        raised(errno.ENOENT),
        raised(errno.EACCES),
        RuntimeError("y"),
    ):
        assert machine_error(error) is None
    assert not isinstance(disk_error(raised(errno.ENOENT)), InterruptedWorkError)


def test_a_fault_is_found_behind_what_was_made_of_it() -> None:
    wrapped = UserError("x.h5 is damaged or truncated")
    wrapped.__cause__ = raised(errno.EIO)
    assert "failed" in str(machine_error(wrapped))
    text = RuntimeError(
        "Can't decrement id ref count (file write failed: filename = 'x', errno = 28, error message = 'No')"
    )
    assert "the disk is full" in str(machine_error(text))
    assert "the disk is full" in str(machine_error(Exception("Error while serializing: I/O error (os error 28)")))


def test_memory_that_cannot_be_had() -> None:
    for allocate in (lambda: np.empty(1 << 50), lambda: torch.empty(1 << 50), lambda: bytearray(1 << 60)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        assert str(machine_error(caught.value)).startswith("out of memory (")


@registered
def full(payload: int, emit: object) -> None:
    raise raised(payload)


def test_a_job_that_the_machine_ends_is_told_from_one_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_too(*_: object) -> None:
        raise raised(errno.ENOSPC)

    address = f"{full.__module__}:full"
    assert execute(address, errno.ENOENT, print)[0] == "refused"
    monkeypatch.setattr("mcsr_bench.errors.traceback.print_exc", full_too)  # the log is on the same disk
    assert execute(address, errno.ENOSPC, print)[0] == "unable"


def test_the_command_line_says_it_in_a_sentence(here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library that met it made of it."""

    def fails(*_: object) -> None:
        raise RuntimeError("Can't close file (file write failed: filename = 'x', errno = 28, error message = 'No')")

    monkeypatch.setattr("mcsr_bench.listing", fails)
    done = here("list", "metrics")
    assert (done.returncode, done.stderr) == (2, "mcsr-bench: cannot write or read: the disk is full\n")
    with pytest.raises(RuntimeError):
        here("list", "metrics", "--debug")


def test_hdf5_on_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    def fill() -> None:
        with new_file(tmp_path / "x.h5") as (file, check):
            for i in range(100):
                file.create_group(f"{i}")["image"] = np.ones((64, 64), np.float32)
                seen.append(i)
                check()

    seen: list[int] = []
    with no_larger_than(100_000), pytest.raises(OSError, match=r"File too large.*x\.h5"):
        fill()
    assert len(seen) < 10
    seen.clear()
    fill()
    with h5py.File(tmp_path / "x.h5") as file:
        assert len(file) == len(seen) == 100
        assert file["99/image"][...].all()


def test_tensors_on_a_full_disk_name_the_file(tmp_path: Path) -> None:
    with no_larger_than(10_000), pytest.raises(OSError, match="File too large") as caught:
        save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(10_000)}, {})
    assert caught.value.filename == str(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_damaged(tmp_path: Path) -> None:
    place = BundleFiles(tmp_path)
    files.write_json(place.trial, {})
    save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(3)}, {})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = 1
    (tmp_path / "x.nii").write_bytes(b"")

    def opened() -> None:
        with hdf5.opened(tmp_path / "x.h5"):
            pass

    for read in (
        place.read_record,
        place.sound_record,
        lambda: load_tensors(tmp_path / "w.safetensors"),
        lambda: nifti.inspect(tmp_path / "x.nii"),
        opened,
    ):
        with pytest.raises(InterruptedWorkError, match="too many files are open"), no_more_files():
            read()
    with pytest.raises(DamagedFileError):
        place.read_record()
    assert isinstance(damaged(tmp_path, "cut", ValueError("x")), DamagedFileError)


def test_bytes_are_on_the_disk_before_the_name_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    kinds = {True: "folder", False: "file"}
    monkeypatch.setattr(files.os, "fsync", lambda fd: done.append(kinds[os.path.isdir(f"/proc/self/fd/{fd}")]))
    move = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (done.append("name"), move(a, b))[1])
    files.write_json(tmp_path / "a.json", {})
    save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(3)}, {})
    assert done == ["file", "name", "folder"] * 2


def test_a_disk_that_loses_what_it_took_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes with the flush, as on network folders."""
    files.write_json(tmp_path / "a.json", {"sound": 1})

    def lost(_: int) -> None:
        raise raised(errno.EIO)

    monkeypatch.setattr(files.os, "fsync", lost)
    with pytest.raises(OSError, match=r"a\.json"):
        files.write_json(tmp_path / "a.json", {"sound": 2})
    assert files.read_json(tmp_path / "a.json") == {"sound": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
