"""Pipes, sockets and devices where a file is needed: one sentence at once, and nobody waits for their other end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_run as fake
import pytest

from mcsr_bench.data.raw import hdf5, nifti
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.load import load_results
from mcsr_bench.system import files, frames
from mcsr_bench.system.digests import code_digest, digests


@pytest.fixture(autouse=True)
def no_patience() -> Iterator[None]:
    """What waits for a pipe fails."""

    def waited(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


def test_what_a_path_is(tmp_path: Path, pipe: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        server.bind("s")
        assert "socket" in files.not_a_file(tmp_path / "s")
    assert "pipe" in files.not_a_file(pipe("p"))
    assert "device" in files.not_a_file(Path("/dev/zero"))
    assert files.not_a_file(tmp_path) == "a folder, not a file"
    assert files.not_a_file(tmp_path / "link") == "a broken link"
    assert files.not_a_file(tmp_path / "nowhere") == "no such file"
    assert files.not_a_file(tmp_path / "file") == ""


def test_readers_of_files(pipe: Callable[[str], Path]) -> None:
    def opened(path: Path) -> None:
        with hdf5.opened(path):
            pass

    for name, read in {
        "a.h5": opened,
        "a.nii": nifti.inspect,
        "a.bin": lambda path: digests([path]),
        "a.json": files.read_json,
        "a.csv": frames.read_csv,
        "b.bin": files.file_digest,
    }.items():
        with pytest.raises((UserError, ValueError), match="a pipe, a socket or a device, not a regular file"):
            read(pipe(name))


def test_arguments_of_commands(here: Callable[..., Any], tmp_path: Path, pipe: Callable[[str], Path]) -> None:
    path, image = pipe("p.json"), pipe("t.nii")
    weights = pipe("w.pth")
    for arguments in (
        ("run", "--methods", "zerofill", "--dataset", "brain-sim", "--split", path, "--out", tmp_path / "r"),
        ("import-weights", "sanet", weights, "--to", tmp_path / "b"),
        ("predict", "--from", tmp_path / "b", "--target", image, "--to", tmp_path / "sr.nii"),
    ):
        done = here(*arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
    assert (
        "not a regular file" in here("run", "--dataset", "brain-sim", "--split", path, "--out", tmp_path / "r").stderr
    )


def test_code_of_plugins(tmp_path: Path, pipe: Callable[[str], Path]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    before = code_digest(folder)
    os.mkfifo(folder / "network.py")
    assert code_digest(folder) == before
    (folder / "card.toml").write_text('kind = "method"\nname = "mine"\n')
    with scoped_plugins([tmp_path]):
        pass


def test_files_of_trials(tmp_path: Path) -> None:
    folder = fake.write_trial_of(tmp_path, "zerofill", [30.0])
    bundle = Bundle(folder, Bundle(folder, None).read_record())
    bundle.volumes.unlink()
    os.mkfifo(bundle.volumes)
    with pytest.raises(DamagedFileError, match="a pipe"):
        load_results(tmp_path)
    bundle.predictions.unlink(missing_ok=True)
    os.mkfifo(bundle.predictions)
    bundle.record.files[bundle.predictions.name] = "0"
    with pytest.raises(DamagedFileError, match="a pipe"):
        bundle.checked(bundle.predictions)
