"""A file that is locked, or on a network folder that does not answer, is not damaged: it is read, or a sentence says why not."""

import errno
import os
import re
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from mcsr_bench.data.raw import hdf5, nifti
from mcsr_bench.data.raw.mrd import _damage
from mcsr_bench.errors import DamagedFileError, InterruptedWorkError, UserError, damaged, disk_error
from mcsr_bench.predicting import hdf5 as volumes
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files
from mcsr_bench.weights.tensors import read_foreign

ROOT = Path(__file__).parents[2]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.ones((2, 8, 8), np.float32)
    return path


def test_a_file_that_another_program_has_locked_is_read(image):
    fcntl = pytest.importorskip("fcntl", reason="locks as on Linux and macOS")
    with image.open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(image, "r")  # so it would be
        with hdf5.opened(image) as file:
            assert file["image"].shape == (2, 8, 8)
        assert volumes.read_pair(image, None, 2, 2).target.shape == (2, 8, 8)


def test_nothing_opens_a_file_to_read_in_another_way():
    for folder in ("mcsr_bench", "methods", "datasets", "reports"):
        for path in (ROOT / folder).rglob("*.py"):
            calls = re.findall(r"h5py\.File\((.*?)\)", path.read_text(encoding="utf-8"))
            if path != ROOT / "mcsr_bench" / "system" / "hdf5.py":
                assert all(call.endswith('"w"') for call in calls), path


@pytest.mark.parametrize("code", ["EAGAIN", "EIO", "ESTALE", "ETIMEDOUT", "EACCES"])
def test_what_cannot_be_reached_is_not_called_damaged(code, image, tmp_path, monkeypatch):
    error = OSError(getattr(errno, code), f"no luck, errno = {code}")
    reason = re.escape(str(damaged(Path("x"), "", error)).rpartition(": ")[2])
    assert reason

    def fail(*_, **__):
        raise error

    scan = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 2), np.float32), np.eye(4)), scan)
    checkpoint = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2)}, checkpoint)
    bundle = BundleFiles(tmp_path)
    bundle.trial.write_text("{}")
    found = nifti.inspect(scan)
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", fail)
        patch.setattr(nibabel, "load", fail)
        patch.setattr("gzip.open", fail)
        patch.setattr(torch, "load", fail)
        calls = [
            lambda: hdf5.opened(image).__enter__(),
            lambda: volumes.read_pair(image, None, 2, 2),
            lambda: nifti.inspect(scan),
            lambda: list(nifti._pieces(found)),
            lambda: read_foreign(checkpoint),
        ]
        for call in calls:
            with pytest.raises(UserError, match=rf"cannot (be read|write or read): {reason}") as raised:
                call()
            assert not isinstance(raised.value, DamagedFileError)
        with pytest.raises(UserError, match=f"cannot (be read|write or read): {reason}"), _damage(image):
            raise error
        patch.setattr(Path, "read_text", fail)
        patch.setattr(Path, "open", fail)
        for call in (bundle.read_record, bundle.sound_record):  # None would be a trial to train again
            with pytest.raises(InterruptedWorkError, match=reason):
                call()
    assert str(disk_error(error)).endswith(str(damaged(image, "", error)).rpartition(": ")[2])


def test_a_file_that_is_open_elsewhere_on_windows_is_kept_and_named(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"  # in a spreadsheet, say
    path.write_text("old")

    def refuse(source, target):
        error = PermissionError(errno.EACCES, "Access is denied", str(target))
        error.winerror = 32
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as raised:
        files.write_text(path, "new")
    assert str(disk_error(raised.value)) == f"{path}: cannot write or read: another program has it open"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]
    assert path.read_text() == "old"
